"""Runs a W&B server on loopback that records what it gets: runs, rows, artifacts.

It implements the parts of the GraphQL and file-stream interfaces that wandb 0.31.0 requests.
"""

import gzip
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from wandb_stub_data import StubArtifact, StubRun

KEY = "5" * 40
OPERATION = re.compile(r"(?:query|mutation)\s+(\w+)")
STREAM = re.compile(r"/files/[^/]+/([^/]+)/([^/]+)/file_stream")
OWNER = {"id": "owner", "name": "me"}


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Ignores a client that closes the connection early."""


class Stub:
    """Listens on stub.url until the block `with Stub() as stub` ends.

    delay_s: of every answer. broken: refuses every request with this status.
    """

    def __init__(self, delay_s: float = 0, broken: int | None = None):
        self.delay_s, self.broken = delay_s, broken
        self.runs: dict[str, StubRun] = {}
        self.artifacts: dict[str, StubArtifact] = {}  # by name and digest
        self.reports: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self._server = Quiet(("127.0.0.1", 0), _handler(self))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(operation)
        variables = {**variables, **(variables.get("input") or {})}
        known: Callable[[dict[str, Any]], dict[str, Any]] | None
        known = getattr(self, f"_{operation}", None)
        if known is None:
            self.unknown.append(operation)
            return {}
        return known(variables)

    def stream(self, project: str, name: str, body: dict[str, Any]) -> None:
        run = self.runs.setdefault(name, StubRun(project))
        for file, part in (body.get("files") or {}).items():
            lines = part.get("content", [])
            if file == "wandb-summary.json":
                run.summary = json.loads(lines[-1])
            elif file == "wandb-history.jsonl":
                run.history[part.get("offset", 0) :] = map(json.loads, lines)
        if body.get("exitcode") is not None:
            run.exit_code = body["exitcode"]

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        me = {**OWNER, "entity": "me", "username": "me", "flags": "{}", "email": "", "admin": False}
        return {"viewer": {**me, "teams": {"edges": [{"node": OWNER}]}}}

    def _ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def _ProjectInternalId(self, variables: dict[str, Any]) -> dict[str, Any]:
        known = {run.project for run in self.runs.values()}
        if variables["projectName"] not in known:
            return {"project": None}
        # Base64 of "Project:1".
        return {"project": {"id": "1", "internalId": "UHJvamVjdDox"}}

    def _GetProjects(self, _: dict[str, Any]) -> dict[str, Any]:
        about = {"createdAt": "2020-01-01", "isBenchmark": False, "user": None}
        nodes = [
            {"id": "UHJvamVjdDox", "name": run.project, "entityName": "me", **about}
            for run in self.runs.values()
        ]
        page = {"endCursor": None, "hasNextPage": False}
        return {"models": {"pageInfo": page, "edges": [{"node": node} for node in nodes]}}

    def _upsertView(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.reports.append(variables)
        where = {"id": "UHJvamVjdDox", "name": variables["projectName"], "entityName": "me"}
        view = {name: variables[name] for name in ("name", "displayName", "description", "spec")}
        return {"upsertView": {"view": {**view, "id": "Vmlldzox", "project": where}}}

    def _UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        name, project = variables["name"], variables.get("project") or "uncategorized"
        new = name not in self.runs
        run = self.runs.setdefault(name, StubRun(project))
        run.sent |= {key: value for key, value in variables.items() if value is not None}
        where = {"id": project, "name": project, "entity": OWNER}
        bucket = {**run.state(name), "description": "", "sweepName": None, "project": where}
        return {"upsertBucket": {"bucket": bucket, "inserted": new}}

    def _RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:
        name, project = variables["name"], variables.get("project")
        run = self.runs.get(name)
        bucket = run.state(name) if run else None
        return {"model": {"id": project, "name": project, "entity": OWNER, "bucket": bucket}}

    def _CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": self._put(run, name)} for name in variables["files"]]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}

    def _ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        collections = variables.get("artifactCollectionNames") or [
            variables.get("artifactCollectionName")
        ]
        key = f"{collections[0]}-{variables['digest']}"
        found = self.artifacts.setdefault(
            key,
            StubArtifact(
                name=collections[0],
                type=variables["artifactTypeName"],
                metadata=json.loads(variables.get("metadata") or "{}"),
                digest=variables["digest"],
            ),
        )
        if variables.get("runName"):
            found.logged_by.append(variables["runName"])
        sequence = {"id": key, "latestArtifact": None}
        artifact = {"id": key, "state": "PENDING", "digest": found.digest}
        return {"createArtifact": {"artifact": {**artifact, "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"createArtifactManifest": self._manifest(variables["artifactID"])}

    def _UpdateArtifactManifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"updateArtifactManifest": self._manifest(variables["artifactManifestID"])}

    def _manifest(self, artifact: str) -> dict[str, Any]:
        name = "wandb_manifest.json"
        file = {"id": artifact, "name": name, "displayName": name, "uploadHeaders": []}
        url = self._put(artifact, name)
        return {"artifactManifest": {"id": artifact, "file": {**file, "uploadUrl": url}}}

    def _CreateArtifactFiles(self, variables: dict[str, Any]) -> dict[str, Any]:
        nodes = [self._file(one["artifactID"], one["name"]) for one in variables["artifactFiles"]]
        edges = [{"node": node} for node in nodes]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _file(self, artifact: str, name: str) -> dict[str, Any]:
        return {
            "id": name, "name": name, "displayName": name, "uploadUrl": self._put(artifact, name),
            "uploadHeaders": [], "uploadMultipartUrls": None, "storagePath": "",
            "artifact": {"id": artifact},
        }  # fmt: skip

    def _CommitArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": ""}}}

    def _UseArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[variables["artifactID"]].used_by.append(variables["runName"])
        return {"useArtifact": {"artifact": {"id": variables["artifactID"]}}}

    def _put(self, owner: str, name: str) -> str:
        return f"{self.url}/put/{owner}/{name}"

    def put(self, path: str, content: bytes) -> None:
        owner, _, name = path.removeprefix("/put/").partition("/")
        self.files[f"{owner}/{name}"] = content
        if owner in self.artifacts:
            self.artifacts[owner].files[name] = content


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self._reply({}, 404)

        def do_PUT(self) -> None:
            stub.put(self.path, self._body())
            self._reply({})

        def do_POST(self) -> None:
            body = json.loads(self._body())
            stream = STREAM.match(self.path)
            with stub.lock:
                if stream:
                    stub.stream(stream[1], stream[2], body)
                    answer: dict[str, Any] = {"limits": {}}
                else:
                    name = OPERATION.search(body["query"])
                    operation = body.get("operationName") or (name[1] if name else "?")
                    answer = {"data": stub.answer(operation, body.get("variables") or {})}
            self._reply(answer)

        def _body(self) -> bytes:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            packed = self.headers.get("content-encoding") == "gzip"
            return gzip.decompress(raw) if packed else raw

        def _reply(self, answer: dict[str, Any], status: int = 200) -> None:
            time.sleep(stub.delay_s)
            content = json.dumps(answer).encode()
            self.send_response(stub.broken or status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler
