"""Compares a status with the present one: no difference, other figures, or news.

Each write sends a message to every watcher of the resource. So figures, which change with every tick, are written once
in a window, and values that change only with time are written only together with other changes. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

_FLEETING = ("recent", "peaks")
"""Parts of the scaler's memory that change with every tick. After a restart they are filled again within a window."""


class Change(IntEnum):
    """In order of urgency."""

    NONE = 0
    FIGURES = 1
    """Measured values, texts that quote them, and what the scaler has learned."""
    NEWS = 2
    """Replicas, conditions, a decision, another spec."""


def change(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Change:
    """How `wanted` differs from `live` (both statuses in the API's form)."""
    if _said(live) != _said(wanted):
        return Change.NEWS
    return Change.NONE if _lasting(live) == _lasting(wanted) else Change.FIGURES


def _said(status: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in status.items() if name not in ("qoe", "scaling", "summary", "conditions")}
    said["summary"] = {name: text for name, text in (status.get("summary") or {}).items() if name != "budget"}
    scaling = status.get("scaling") or {}
    said["scaling"] = [scaling.get(name) for name in ("desired", "reason", "decisions")]
    said["state"] = (status.get("qoe") or {}).get("state")
    said["conditions"] = [
        [condition.get(name) for name in ("type", "status", "reason", "observedGeneration")]
        for condition in status.get("conditions") or ()
    ]
    return said


def _lasting(status: Mapping[str, Any]) -> dict[str, Any]:
    lasting = dict(status)
    qoe, scaling = status.get("qoe"), status.get("scaling")
    if qoe:
        lasting["qoe"] = {name: value for name, value in qoe.items() if name != "observedAt"}
    if scaling:
        memory = scaling.get("memory") or {}
        state = {name: value for name, value in (memory.get("state") or {}).items() if name not in _FLEETING}
        lasting["scaling"] = {**scaling, "memory": {**memory, "state": state}}
    return lasting
