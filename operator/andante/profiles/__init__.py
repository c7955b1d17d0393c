"""Reads step-time profiles (YAML) into `andante.domain.step_time.Profile`; six ship beside this file (README.md there).

The virtual GPU, the scheduler, the generated CRD and the benchmarks use it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from andante.domain.step_time import Profile, StepTimeCoefficients

SHIPPED_PROFILES = Path(__file__).with_name("profiles.yaml")

Microseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[int, Field(gt=0)]


class ProfileError(ValueError):
    """A profile file cannot be used; the message names the file, the profile and the field."""


class _Border(BaseModel):
    # extra="ignore": the file also has fit errors and alternative fits for people.
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Coefficients(_Border):
    fixed_us: Microseconds
    prefill_step_us: Microseconds
    weight_floor_us: Microseconds
    token_us: Microseconds
    pair_us: Microseconds
    decode_seq_us: Microseconds
    context_token_us: Microseconds


class _Warmup(_Border):
    median: Annotated[float, Field(ge=0, allow_inf_nan=False)] = math.nan
    p95: Annotated[float, Field(ge=0, allow_inf_nan=False)] = math.nan


class _OutsideEngine(_Border):
    hand_over_us: Microseconds = 0.0
    output_path_us: Microseconds = 0.0


class _Profile(_Border):
    name: Annotated[str, Field(min_length=1, max_length=253)]
    model: str
    gpu: str
    tensor_parallel: Positive
    coefficients: _Coefficients
    kv_bytes_per_token: Positive | None = None
    kv_capacity_tokens: Positive
    block_size: Positive
    max_num_seqs: Positive
    max_num_batched_tokens: Positive
    price_per_replica_hour: Annotated[float, Field(ge=0, allow_inf_nan=False)] = math.nan
    warmup_seconds: _Warmup = _Warmup()
    outside_engine: _OutsideEngine = _OutsideEngine()
    confidence: str = ""
    source: str = ""

    def to_domain(self) -> Profile:
        return Profile(
            **self.model_dump(exclude={"coefficients", "warmup_seconds", "outside_engine", "kv_bytes_per_token"}),
            kv_bytes_per_token=self.kv_bytes_per_token or 0,
            coefficients=StepTimeCoefficients(**self.coefficients.model_dump()),
            warmup_median_seconds=self.warmup_seconds.median,
            warmup_p95_seconds=self.warmup_seconds.p95,
            hand_over_us=self.outside_engine.hand_over_us,
            output_path_us=self.outside_engine.output_path_us,
        )


class _Units(_Border):
    time: Literal["us"]
    price: Literal["USD per hour"]
    warmup: Literal["s"]


class _ProfileFile(_Border):
    version: Literal[1]
    units: _Units
    profiles: Annotated[tuple[_Profile, ...], Field(min_length=1)]


def load_profiles(path: Path | str | None = None) -> Mapping[str, Profile]:
    """Read the profiles from `path` (default: Andante's own), by name.

    Raises ProfileError naming the file and the field when the file cannot be read, is not YAML, misses a field or has a
    wrong value, and when two profiles share a name.
    """
    file = SHIPPED_PROFILES if path is None else Path(path)
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"{file}: not YAML: {error}") from error
    try:
        parsed = _ProfileFile.model_validate(document)
    except ValidationError as error:
        raise ProfileError(f"{file}: {_describe(error, document)}") from error
    profiles: dict[str, Profile] = {}
    for profile in parsed.profiles:
        if profile.name in profiles:
            raise ProfileError(f"{file}: profiles: two are named {profile.name!r}; give each its own name")
        profiles[profile.name] = profile.to_domain()
    return MappingProxyType(profiles)


def _describe(error: ValidationError, document: object) -> str:
    """All wrong fields of `document`, each with its path, and the profile's name where the path leads through one."""
    lines = []
    for detail in error.errors():
        path = ".".join(str(part) for part in detail["loc"]) or "(document)"
        name = None
        match detail["loc"]:
            case ("profiles", int(index), *_) if isinstance(document, dict):
                entry = document["profiles"][index]
                name = entry.get("name") if isinstance(entry, dict) else None
        lines.append(f"{path}{f' (profile {name})' if name else ''}: {detail['msg']}")
    return "; ".join(lines)
