"""What the commands that replay a trace have in common: which requests they take, and whose expectations apply."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable

from andante.cli.errors import InputError
from andante.domain.pace import PRESETS, QoEClass
from andante.domain.trace import TraceRequest

CLASS_HELP = (
    f"QoE class of requests that name none: {', '.join(PRESETS)}; or a name of your own with both options below."
)


def select(
    requests: list[TraceRequest],
    *,
    speed: float = 1.0,
    rate_scale: float = 1.0,
    duration: float | None = None,
    max_prompt_tokens: int | None = None,
    max_output_tokens: int | None = None,
) -> list[TraceRequest]:
    """The requests to send: `rate_scale` times as many, compressed in time, cut to `duration` seconds and to the caps.

    Below 1, requests are left out evenly. Above 1, copies are spread over the time until the next arrival.
    """
    kept: list[TraceRequest] = []
    for i, r in enumerate(requests):
        copies = int((i + 1) * rate_scale + 1e-9) - int(i * rate_scale + 1e-9)
        following = requests[i + 1].arrival_s if i + 1 < len(requests) else r.arrival_s
        for k in range(copies):
            arrival = r.arrival_s + (following - r.arrival_s) * k / copies
            at = (arrival - requests[0].arrival_s) / speed
            if duration is not None and at >= duration:
                return kept
            prompt = min(r.prompt_tokens, max_prompt_tokens or r.prompt_tokens)
            output = min(r.output_tokens, max_output_tokens or r.output_tokens)
            kept.append(dataclasses.replace(r, arrival_s=at, prompt_tokens=prompt, output_tokens=output))
    return kept


def named_class(name: str, expected_ttft: float | None, pace: float | None) -> QoEClass:
    """The preset of that name, or a class of one's own. Raises InputError naming the option."""
    if name not in PRESETS and (expected_ttft is None or pace is None):
        known = ", ".join(PRESETS)
        raise InputError(f"--class: no preset {name!r}; take one of {known}, or give --expected-ttft and --pace")
    base = PRESETS.get(name, PRESETS["reading"])
    try:
        return dataclasses.replace(
            base,
            name=name,
            expected_ttft=base.expected_ttft if expected_ttft is None else expected_ttft,
            pace=base.pace if pace is None else pace,
        )
    except ValueError as error:
        raise InputError(f"--expected-ttft/--pace: {error}") from error


def check_classes(requests: Iterable[TraceRequest], known: Collection[str]) -> None:
    """Raise InputError for a class of the trace that is not `known`."""
    unknown = sorted({r.qoe_class for r in requests if r.qoe_class} - set(known))
    if unknown:
        raise InputError(f"--trace: no preset for the class {unknown[0]!r}; known are {', '.join(known)}")
