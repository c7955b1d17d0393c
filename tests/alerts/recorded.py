"""What the recording rules record, worked out by hand, for engines whose traffic changes once.

A check lies at .6 of a window after the change: then half the window, and twice the window, give other values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alerts.promtool import evaluated
from alerts.series import Value, notation
from andante.domain import metric_names
from andante.domain.slo import recording
from andante.domain.slo.alerts import Rule
from andante.domain.slo.recording import recording_groups
from debian_programs import Program

TOLERANCE = 0.03
"""Relative. Prometheus 2 and 3 differ by a sample at the edge of a window."""
_SLO = "team/chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A minute, and all rows that a record has then: by namespace, service and class where it has one."""

    minute: int
    rows: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Series, the rules that read them, and what these record."""

    series: Mapping[str, str]
    """In promtool's notation."""
    scrape_seconds: int
    evaluation_minutes: int
    rules: Sequence[Rule]
    checks: Mapping[str, Check]
    """By record."""


def _phases(*phases: tuple[int, int | None], steps_a_minute: int, counter: bool) -> str:
    """Of minutes each: a gauge's value, or a counter's gain a minute, which must be a multiple of the steps. None: the
    series is not there."""
    values: list[Value] = []
    total = 0
    for minutes, amount in phases:
        for _ in range(minutes * steps_a_minute):
            values.append(None if amount is None else total if counter else amount)
            total += 0 if amount is None else amount // steps_a_minute
    return notation(values)


def _labels(**labels: str) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


_FAST, _SLOW = ({rule["record"]: rule for rule in group["rules"]} for group in recording_groups())


def _engines() -> World:
    """Two pods of team/chat with two classes, and others beside them. Numbers are requests a minute.

    Pod a is scraped by a second job from a minute after the change on. Before the change 276 requests of team/chat end
    in a minute, 84 of them bad; after it 432, and 36.
    """
    change, end, steps = 90, 127, 12
    found: dict[str, str] = {}

    def counter(name: str, labels: str, before: int | None, after: int, *, late: int = 0) -> None:
        phases = ((change + late, before), (end - change - late, after))
        found[f"{name}{{{labels}}}"] = _phases(*phases, steps_a_minute=steps, counter=True)

    def engine(labels: str, scored: tuple[int | None, int], good: tuple[int | None, int], *, late: int = 0) -> None:
        counter(metric_names.SCORED_REQUESTS, labels, *scored, late=late)
        counter(metric_names.GOOD_REQUESTS, labels, *good, late=late)

    def opened(labels: str, bad: int, *, late: int = 0) -> None:
        phases = ((change + late, None if late else bad), (end - change - late, bad))
        series = f"{metric_names.OPEN_BAD_REQUESTS}{{{labels}}}"
        found[series] = _phases(*phases, steps_a_minute=steps, counter=False)

    chat = {"namespace": "team", "llmservice": "chat"}
    for job, late in (("one", 0), ("two", 1)):
        before = (None, None, None, None) if late else (120, 60, 36, 12)
        reading = _labels(**chat, pod="a", qoe_class="reading", job=job)
        voice = _labels(**chat, pod="a", qoe_class="voice", job=job)
        engine(reading, (before[0], 240), (before[1], 216), late=late)
        engine(voice, (before[2], 72), (before[3], 72), late=late)
        opened(reading, 300 if late else 600, late=late)
    opened(_labels(**chat, pod="a", qoe_class="voice", job="one"), 200)
    b = _labels(**chat, pod="b", qoe_class="reading", job="one")
    engine(b, (120, 120), (120, 108))
    opened(b, 300)
    # An engine of an older version, which shows the good ones alone.
    counter(metric_names.GOOD_REQUESTS, _labels(**chat, pod="old", qoe_class="reading", job="one"), 360, 360)
    # Another namespace's of the same name; one that shows no open requests; one without traffic; one whose good
    # requests were read a moment later than all; and an engine whose service no label names.
    for namespace, service, scored, good in (
        ("other", "chat", 36, 36),
        ("team", "plain", 60, 36),
        ("team", "idle", 0, 0),
        ("team", "ahead", 108, 120),
        ("team", "", 600, 0),
    ):
        labels = _labels(namespace=namespace, llmservice=service, pod="a", qoe_class="reading", job="one")
        engine(labels, (scored, scored), (good, good))
        if service != "plain":
            opened(labels, 0)

    def by_class(reading: float, voice: float, other: float, plain: float, ahead: float) -> dict[str, float]:
        rows = {f"{_SLO}/reading": reading, f"{_SLO}/voice": voice, "other/chat/reading": other}
        return rows | {"team/plain/reading": plain, "team/idle/reading": 0, "team/ahead/reading": ahead}

    def by_service(chat: float, other: float, plain: float, ahead: float, **idle: float) -> dict[str, float]:
        rows = {_SLO: chat, "other/chat": other, "team/plain": plain, "team/ahead": ahead}
        return rows | {f"team/{name}": value for name, value in idle.items()}

    # A rate of five minutes lags: the sum of rates has two minutes less of what came after the change.
    of_30m = (16 * 36 + 14 * 84) / (16 * 432 + 14 * 276)
    bad_1h, requests_1h = 36 * 36 + 24 * 84, 36 * 432 + 24 * 276
    checks = {
        # Three minutes of the new traffic, two of the old; a second's.
        recording.CLASS_REQUESTS_RATE: (3, by_class((192 + 120) / 60, 57.6 / 60, 0.6, 1, 1.8)),
        recording.CLASS_BAD_RATE: (3, by_class((38.4 + 7.2) / 60, 9.6 / 60, 0, 0.4, 0)),
        # 1,100 requests are open and would be bad.
        recording.RATIO_5M: (3, by_service((276 + 1100) / (1848 + 1100), 0, 0.4, 0)),
        recording.RATIO_30M: (18, by_service(of_30m, 0, 0.4, 0)),
        recording.REQUESTS_1H: (36, by_service(requests_1h, 36 * 60, 60 * 60, 108 * 60, idle=0)),
        recording.BAD_1H: (36, by_service(bad_1h, 0, 24 * 60, 0, idle=0)),
        recording.RATIO_1H: (36, by_service(bad_1h / requests_1h, 0, 0.4, 0)),
    }
    return World(
        series=found,
        scrape_seconds=60 // steps,
        evaluation_minutes=1,
        rules=tuple(_FAST.values()),
        checks={name: Check(minute=change + after, rows=rows) for name, (after, rows) in checks.items()},
    )


def _rates(*, before: int, after: int, steps_a_minute: int) -> dict[str, str]:
    """What is recorded of each class, in requests a second: all requests, and the bad ones."""
    found = {}
    for namespace, service, qoe_class, requests, bad in (
        ("team", "chat", "reading", (10, 2), (2, 1)),
        ("team", "chat", "voice", (5, 1), (1, 0)),
        ("other", "chat", "reading", (1, 1), (0, 0)),
        ("team", "idle", "reading", (0, 0), (0, 0)),
    ):
        labels = _labels(namespace=namespace, llmservice=service, qoe_class=qoe_class)
        for name, (old, new) in ((recording.CLASS_REQUESTS_RATE, requests), (recording.CLASS_BAD_RATE, bad)):
            phases = ((before, old), (after, new))
            found[f"{name}{{{labels}}}"] = _phases(*phases, steps_a_minute=steps_a_minute, counter=False)
    return found


def _hours() -> World:
    """What is recorded each minute, added up."""
    bad, requests = 60 * (216 * 1 + 144 * 3), 60 * (216 * 3 + 144 * 15)
    checks = {
        recording.BAD_6H: {_SLO: bad, "other/chat": 0, "team/idle": 0},
        recording.RATIO_6H: {_SLO: bad / requests, "other/chat": 0},
    }
    return World(
        series=_rates(before=240, after=217, steps_a_minute=1),
        scrape_seconds=60,
        evaluation_minutes=1,
        rules=[_FAST[name] for name in checks],
        checks={name: Check(minute=455, rows=rows) for name, rows in checks.items()},
    )


def _five_minutes() -> World:
    """Three minutes after the change, the average of five minutes."""
    reading, voice = 300 * (0.6 * 2 + 0.4 * 10), 300 * (0.6 * 1 + 0.4 * 5)
    beside = {"other/chat/reading": 300, "team/idle/reading": 0}
    bad = {f"{_SLO}/reading": 300 * (0.6 * 1 + 0.4 * 2), f"{_SLO}/voice": 300 * 0.4 * 1}
    checks = {
        recording.CLASS_REQUESTS_5M: {f"{_SLO}/reading": reading, f"{_SLO}/voice": voice, **beside},
        recording.CLASS_BAD_5M: {**bad, **dict.fromkeys(beside, 0.0)},
        recording.REQUESTS_5M: {_SLO: reading + voice, "other/chat": 300, "team/idle": 0},
    }
    return World(
        series=_rates(before=20, after=4, steps_a_minute=60),
        scrape_seconds=1,
        evaluation_minutes=1,
        rules=[_SLOW[name] for name in checks],
        checks={name: Check(minute=23, rows=rows) for name, rows in checks.items()},
    )


def _rounds() -> World:
    """The slow rules each five minutes: 61 rounds before the change, and 20 after it."""
    bad, requests = 300 * (61 * 3 + 20 * 1), 300 * (61 * 15 + 20 * 3)
    checks = {
        recording.REQUESTS_5M: {_SLO: 300 * 3, "other/chat": 300, "team/idle": 0},
        recording.BAD_3D: {_SLO: bad, "other/chat": 0, "team/idle": 0},
        recording.RATIO_3D: {_SLO: bad / requests, "other/chat": 0},
        recording.REQUESTS_28D: {_SLO: requests, "other/chat": 300 * 81, "team/idle": 0},
    }
    return World(
        series=_rates(before=301, after=100, steps_a_minute=1),
        scrape_seconds=60,
        evaluation_minutes=5,
        rules=tuple(_SLOW.values()),
        checks={name: Check(minute=400, rows=rows) for name, rows in checks.items()},
    )


def _weeks() -> World:
    """The slow sums, evaluated each hour, so that each sample adds a record of five minutes once an hour."""
    bad, requests = 300 * (43 * 1 + 29 * 3), 300 * (43 * 3 + 29 * 15)
    checks = {
        recording.BAD_3D: (342, {_SLO: bad, "other/chat": 0, "team/idle": 0}),
        recording.RATIO_3D: (342, {_SLO: bad / requests, "other/chat": 0}),
        recording.REQUESTS_28D: (
            702,
            {_SLO: 300 * (403 * 3 + 269 * 15), "other/chat": 300 * 672, "team/idle": 0},
        ),
    }
    return World(
        # promtool's steps are hours here, and not minutes.
        series=_rates(before=300, after=403, steps_a_minute=1),
        scrape_seconds=3600,
        evaluation_minutes=60,
        rules=tuple(_SLOW.values()),
        checks={name: Check(minute=60 * hour, rows=rows) for name, (hour, rows) in checks.items()},
    )


WORLDS: Mapping[str, World] = {
    "engines": _engines(),
    "hours": _hours(),
    "five minutes": _five_minutes(),
    "rounds": _rounds(),
    "weeks": _weeks(),
}
MUTANT = "__"
"""Between a record's name and the number of a mutant."""


def right(rows: Mapping[str, float], expected: Mapping[str, float]) -> bool:
    """Whether the rows are these and no others."""
    return rows.keys() == expected.keys() and all(
        abs(rows[name] - value) <= TOLERANCE * abs(value) + 1e-6 for name, value in expected.items()
    )


def recorded(tool: Program, folder: Path, world: World, mutants: Iterable[Rule] = ()) -> dict[str, dict[str, float]]:
    """By the name of each checked record, and of each mutant of one: the rows at the minute of the check."""
    rules = [*world.rules, *mutants]
    group = {"name": "recorded", "interval": f"{world.evaluation_minutes}m", "rules": rules}
    asked = {
        f'{{__name__=~"{name}({MUTANT}[0-9]+)?"}} # {check.minute}': check.minute
        for name, check in world.checks.items()
    }
    test = {
        "interval": f"{world.scrape_seconds}s",
        "input_series": [{"series": series, "values": values} for series, values in world.series.items()],
        # No samples are expected: promtool tells of those that it finds.
        "promql_expr_test": [
            {"expr": expression, "eval_time": f"{minute}m", "exp_samples": []} for expression, minute in asked.items()
        ],
    }
    done = evaluated(tool, folder, [group], minutes=world.evaluation_minutes, tests=[test])
    found: dict[str, dict[str, float]] = {}
    for name, row, value in _rows(done.stdout + done.stderr):
        found.setdefault(name, {})[row] = value
    assert found, done.stdout + done.stderr
    return found


def _rows(output: str) -> Iterator[tuple[str, str, float]]:
    """Of each sample that promtool tells of: the metric, what it is of, the value."""
    for got in re.findall(r"\n\s*got:([^\n]*)", output):
        for labels, value in re.findall(r"(\{[^}]*\}) ([^\s,\]]+)", got):
            named = {name: json.loads(text) for name, text in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*")', labels)}
            name = named.pop("__name__")
            parts = [named.pop(label, None) for label in ("namespace", "llmservice", "qoe_class")]
            row = "/".join(str(part) for part in parts if part is not None)
            yield name, row + "".join(f" {label}" for label in named), float(value)
