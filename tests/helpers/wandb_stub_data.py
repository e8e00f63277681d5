"""Holds what the W&B server of the tests records."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class StubRun:
    project: str
    sent: dict[str, Any] = field(default_factory=dict)  # what its creation said
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def config(self) -> dict[str, Any]:
        values = json.loads(self.sent.get("config") or "{}")
        return {key: value["value"] for key, value in values.items() if key != "_wandb"}

    def state(self, name: str) -> dict[str, Any]:
        return {
            "id": name, "name": name, "displayName": name,
            "summaryMetrics": json.dumps(self.summary), "logLineCount": 0,
            "historyLineCount": len(self.history), "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in self.history[-1:]]),
            "eventsTail": "[]", "config": self.sent.get("config") or "{}", "tags": [],
            "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip


@dataclass
class StubArtifact:
    name: str
    type: str
    metadata: dict[str, Any]
    digest: str
    files: dict[str, bytes] = field(default_factory=dict)
    logged_by: list[str] = field(default_factory=list)
    used_by: list[str] = field(default_factory=list)
