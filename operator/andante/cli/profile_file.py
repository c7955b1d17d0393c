"""Lays out the file of a step-time profile that a command makes (`andante profile fit` and `estimate`). Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from andante.domain.step_time import Profile

_UNITS = {"time": "us", "price": "USD per hour", "warmup": "s"}


def entry_of(profile: Profile, **more: object) -> dict[str, Any]:
    """The profile as it stands in a file, in the units of `profile_document`; what is not known is left out. `more`:
    what the command adds."""
    entry: dict[str, Any] = {
        "name": profile.name,
        "model": profile.model,
        "gpu": profile.gpu,
        "tensor_parallel": profile.tensor_parallel,
        "coefficients": asdict(profile.coefficients),
    }
    if profile.kv_bytes_per_token:
        entry["kv_bytes_per_token"] = profile.kv_bytes_per_token
    for key in ("kv_capacity_tokens", "block_size", "max_num_seqs", "max_num_batched_tokens"):
        entry[key] = getattr(profile, key)
    if math.isfinite(profile.price_per_replica_hour):
        entry["price_per_replica_hour"] = profile.price_per_replica_hour
    return entry | more


def profile_document(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A file with that profile alone."""
    return {"version": 1, "units": dict(_UNITS), "profiles": [entry]}
