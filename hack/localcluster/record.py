"""What is written down about a cluster when it is first brought up (`cluster.json` in its state folder)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(state: Path) -> dict[str, Any] | None:
    """The record of the cluster in `state`, or None where there is none."""
    try:
        document = json.loads((state / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return dict(document)


def write(state: Path, document: dict[str, Any]) -> None:
    """Write the record; a reader sees the old one or the new one, never half of it."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = state / ".cluster.json"
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(state / "cluster.json")


def all_records(state_root: Path) -> dict[str, dict[str, Any]]:
    """Records of every cluster under `state_root`, by name."""
    found = {path.parent.name: read(path.parent) for path in sorted(state_root.glob("*/cluster.json"))}
    return {name: document for name, document in found.items() if document is not None}
