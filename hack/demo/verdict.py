"""Judges whether the demo showed what it promises. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hack.demo.watch import Sample


def verdict(*, scores: Mapping[str, object], samples: Sequence[Sample], least: int) -> list[str]:
    """What went wrong, in sentences. Empty when replicas rose and fell again, and every stream was complete."""
    complaints = []
    if max((s.ready for s in samples), default=0) <= least:
        complaints.append(f"No replica was added: the service stayed at {least}. Is the surge too small?")
    elif samples[-1].replicas > least:
        complaints.append(f"The replicas did not fall back to {least}; {samples[-1].replicas} are left.")
    if scores["streams_cut"]:
        complaints.append(f"{scores['streams_cut']} streams were cut.")
    if scores["generator_was_late"]:
        complaints.append("The load generator was late: this machine is too busy, and the figures measure that too.")
    return complaints
