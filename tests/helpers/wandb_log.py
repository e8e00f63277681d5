"""Reads an offline W&B run back; no network, no server.

A .wandb file is a 7-byte header (":W&B", u16 magic, u8 version), then 32 KiB blocks of chunks:
u32 crc, u16 length, u8 type (1 whole, 2 first, 3 middle, 4 last), data. The data of one or
more chunks is a Record of wandb_internal.proto. Seen in wandb 0.31.0, which ships no reader.
"""

import json
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as proto

HEADER = struct.Struct("<4sHB")
CHUNK = struct.Struct("<IHB")
BLOCK = 32768
WHOLE, LAST = 1, 4


@dataclass
class Artifact:
    name: str
    type: str
    metadata: dict[str, Any]
    files: dict[str, Path]  # name in the artifact -> where it lies
    used: bool  # taken in, not brought out


@dataclass
class WandbLog:
    id: str = ""
    project: str = ""
    entity: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    notes: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    step_metrics: dict[str, str] = field(default_factory=dict)  # metric or glob -> its x axis
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)  # key -> columns, data
    artifacts: list[Artifact] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    exit_code: int | None = None  # None: killed


def logs(folder: Path, name: str = "wandb") -> list[WandbLog]:
    """Returns every finished run below the folder, oldest first."""
    return [_finished(path) for path in sorted(folder.glob(f"{name}/*run-*/*.wandb"), key=_begun)]


def _begun(path: Path) -> tuple[str, int]:
    # Folders are named by the second.
    return path.parent.name, path.stat().st_mtime_ns


def _finished(path: Path, patience_s: float = 10) -> WandbLog:
    # W&B's service closes the file some milliseconds after run.finish() has returned.
    end = time.monotonic() + patience_s
    while (log := read(path)).exit_code is None and time.monotonic() < end:
        time.sleep(0.002)
    return log


def read(path: Path) -> WandbLog:
    log = WandbLog()
    for record in _records(path.read_bytes()):
        _take(log, record)
    log.tables = dict(_tables(log, path.parent / "files"))
    return log


def _take(log: WandbLog, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        _take_run(log, record.run)
    elif kind == "config":
        _update(log.config, record.config.update)
    elif kind == "history":
        log.history.append(_update({}, record.history.item))
    elif kind == "summary":
        _update(log.summary, record.summary.update)
    elif kind == "metric":
        metric = record.metric
        log.step_metrics[metric.name or metric.glob_name] = metric.step_metric
    elif kind == "artifact" and record.artifact.type != "run_table":  # W&B's copy of a table
        log.artifacts.append(_artifact(record.artifact))
    elif kind == "files":
        log.files += [file.path for file in record.files.files]
    elif kind == "exit":
        log.exit_code = record.exit.exit_code


def _artifact(sent: Any) -> Artifact:
    files = {entry.path: Path(entry.local_path) for entry in sent.manifest.contents}
    metadata = json.loads(sent.metadata or "{}")
    return Artifact(sent.name, sent.type, metadata, files, sent.use_after_commit)


def _take_run(log: WandbLog, run: Any) -> None:
    log.id, log.project, log.entity = run.run_id, run.project, run.entity
    log.group, log.job_type, log.notes = run.run_group, run.job_type, run.notes
    log.name, log.tags = run.display_name, list(run.tags)
    _update(log.config, run.config.update)


def _update(target: dict[str, Any], items: Any) -> dict[str, Any]:
    for item in items:
        *parents, last = list(item.nested_key) or [item.key]
        inner = target
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = json.loads(item.value_json)
    return target


def _tables(log: WandbLog, files: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for row in log.history:
        for key, value in row.items():
            if isinstance(value, dict) and value.get("_type") == "table-file":
                yield key, json.loads((files / value["path"]).read_text())


def _records(raw: bytes) -> Iterator[Any]:
    if not raw:
        return
    assert HEADER.unpack_from(raw) == (b":W&B", 0xBEE1, 0), "not a .wandb file of version 0"
    data = b""
    for kind, chunk in _chunks(raw):
        data += chunk
        if kind in (WHOLE, LAST):
            record = proto.Record()  # type: ignore[attr-defined]
            record.ParseFromString(data)
            data = b""
            yield record


def _chunks(raw: bytes) -> Iterator[tuple[int, bytes]]:
    position = HEADER.size
    while position + CHUNK.size <= len(raw):
        rest = BLOCK - position % BLOCK
        if rest < CHUNK.size:
            # Too short for a chunk: zeros up to the next block.
            position += rest
            continue
        crc, length, kind = CHUNK.unpack_from(raw, position)
        data = raw[position + CHUNK.size : position + CHUNK.size + length]
        if kind == 0 or len(data) < length:
            # Killed in the middle of a write.
            return
        assert zlib.crc32(bytes([kind]) + data) == crc, f"bad checksum at byte {position}"
        yield kind, data
        position += CHUNK.size + length
