"""Series for Prometheus' rule tests, from phases of traffic. Whole numbers: a fall by .0003 is a reset."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_GOLDEN = (5**0.5 - 1) / 2
Value = int | None
"""None: no sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What one engine does for some minutes."""

    minutes: int
    requests: float = 0
    """That end in an hour, spread evenly."""
    bad: float = 0
    """Share of these."""
    open: int = 0
    open_bad: int = 0
    tokens: float | None = None
    """In a minute; None: as many as the requests have."""
    reset: bool = False
    """The engine's container begins anew with this phase."""
    seen: bool = True
    """Whether Prometheus scrapes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A pod's phases."""

    phases: Sequence[Phase]
    pod: str = "chat-0"
    qoe_class: str = "reading"
    batch: bool = False
    """Its requests are of a class that no promise counts."""
    without: frozenset[str] = frozenset()
    """Metrics that a relabel rule drops."""
    job: str = ""
    """The scrape job that the series are of."""

    def series(self, *, namespace: str, llmservice: str, per_minute: int) -> dict[str, str]:
        """By series, its values in promtool's notation, `per_minute` of them."""
        found = self.samples(namespace=namespace, llmservice=llmservice, per_minute=per_minute)
        return {name: notation(values) for name, values in found.items()}

    def samples(self, *, namespace: str, llmservice: str, per_minute: int) -> dict[str, list[Value]]:
        """By series, its values."""
        found = _Counters(per_minute=per_minute)
        for phase in self.phases:
            found.run(phase, batch=self.batch)
        common = {"namespace": namespace, "llmservice": llmservice, "pod": self.pod}
        if self.job:
            common["job"] = self.job
        of_class = {**common, "qoe_class": self.qoe_class}
        return {
            f"{name}{_labels(common if name.startswith('vllm:') else of_class)}": values
            for name, values in found.values.items()
            if name not in self.without
        }


@dataclass(slots=True)
class _Counters:
    per_minute: int
    values: dict[str, list[Value]] = field(default_factory=dict)
    requests: float = 0
    tokens: float = 0
    counted: int = 0
    spoilt: int = 0

    def run(self, phase: Phase, *, batch: bool) -> None:
        if phase.reset:
            self.requests = self.tokens = 0
            self.counted = self.spoilt = 0
        ended = phase.requests / 60 / self.per_minute
        tokens = 200 * ended if phase.tokens is None else phase.tokens / self.per_minute
        for step in range(phase.minutes * self.per_minute):
            if step or not phase.reset:
                self.requests += ended
                self.tokens += tokens
            # A request is good or bad as a whole. Which one is follows no rhythm, as windows have theirs.
            for number in range(self.counted, _whole(self.requests)):
                self.spoilt += number * _GOLDEN % 1 < phase.bad
            self.counted = _whole(self.requests)
            counted = 0 if batch else self.counted
            now: Mapping[str, Value] = {
                "andante_requests_scored_total": counted,
                "andante_requests_good_total": 0 if batch else self.counted - self.spoilt,
                "andante_requests_total": _whole(self.requests),
                "andante_open_requests": phase.open,
                "andante_open_bad_requests": phase.open_bad,
                "vllm:generation_tokens_total": _whole(self.tokens),
                "vllm:prompt_tokens_total": _whole(self.tokens),
            }
            for name, value in now.items():
                self.values.setdefault(name, []).append(value if phase.seen else None)


def constant(
    name: str, labels: Mapping[str, str], phases: Iterable[tuple[int, Value]], *, per_minute: int
) -> dict[str, str]:
    """A gauge with a value for some minutes each."""
    values = [value for minutes, value in phases for _ in range(minutes * per_minute)]
    return {f"{name}{_labels(labels)}": notation(values)}


def notation(values: Sequence[Value]) -> str:
    """promtool's own: `a+bxn` for n steps of b after a, `_xn` for n missing samples."""
    parts: list[str] = []
    place = 0
    while place < len(values):
        start = values[place]
        if start is None:
            length = sum(1 for _ in itertools.takewhile(lambda v: v is None, values[place:]))
            parts.append(f"_x{length}")
            place += length
            continue
        end, step = place + 1, 0
        if end < len(values) and (following := values[end]) is not None:
            step = following - start
            while end < len(values) and values[end] == start + step * (end - place):
                end += 1
        parts.append(f"{start}{step:+d}x{end - place - 1}")
        place = end
    return " ".join(parts)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _whole(value: float) -> int:
    return int(value + 1e-6)
