"""How well the pages tell incidents from noise, beside the alerts that other tools would give. `make bench-alerts`.

Simulated months of traffic, minute by minute: days and weeks with their tides, a healthy share of bad answers, short
surges of noise, harmless changes of the traffic, and eight incidents. Our page rules are judged beside sloth's, p95
alerts on TTFT and TPOT as vLLM's histograms give them, and `up`. The thresholds of ours come from the code that makes
the rules (tests/alerts runs those rules in Prometheus); sloth's are those that sloth generates. The p95 alerts get the
window, the hold and the least traffic that suit each cell best, found on other months. Writes
benchmarks/results/alerts.json and .md.

What the simulation is not: its incidents are drawn, not those of a cluster; and requests are counted in the minute in
which they end.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

import numpy as np
from benchmarks.results_file import write_result
from numpy.typing import NDArray

from andante.domain.slo.burn import BurnTier, burn_tiers, fires
from andante.domain.slo.promise import DAY, Promise

MINUTES: Final = 28 * 24 * 60
"""Of the month that is judged; another one, without incidents, comes before it."""
SETTLED: Final = 10
"""Minutes by which two pages must be apart to be two notifications."""
LATE: Final = 360
"""Minutes after an incident in which a page still belongs to it: the longest window of a page."""
HEALTHY: Final = 0.2
"""Of the error budget, what a service burns while all is well."""
SURGE: Final = (1.0, 10.0)
"""Of the error budget, what a short surge of noise burns."""
LEAST_SHARE: Final = 0.02
"""Share of the month's error budget that an incident must burn, and `LEAST_BAD` answers, to deserve a page."""
LEAST_BAD: Final = 5

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Incident:
    """A share of answers is bad for a while. What a kind does to TTFT, TPOT and `up` stands in `KINDS`."""

    kind: str
    begin: int
    end: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Of the bad answers of an incident, the share that also has a slow first token, or slow tokens on average."""

    slow_first: float = 0.0
    slow_tokens: float = 0.0
    down: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "queue": Kind(slow_first=1.0),
    "slow decode": Kind(slow_tokens=1.0),
    # An answer that stops for seconds in its middle has its first token in time and a good mean: only its readers,
    # and the timeline of its tokens, know.
    "stalls": Kind(),
    "cut answers": Kind(),
    "engine down": Kind(down=True, slow_first=0.5),
}


@dataclass(slots=True)
class Month:
    """Counts by minute; the first half is the month before, which gives the budget its requests."""

    requests: Floats
    bad: Floats
    slow_first: Floats
    slow_tokens: Floats
    down: Flags
    incidents: Sequence[Incident]


def month(rng: np.random.Generator, *, per_hour: float, promise: Promise) -> Month:
    """One month and the one before."""
    minutes = np.arange(2 * MINUTES)
    day, week = minutes / 1440, minutes // 1440 % 7
    tide = (1 + 0.6 * np.sin(2 * math.pi * (day - 0.4))) * np.where(week >= 5, 0.6, 1.16)
    requests = rng.poisson(per_hour / 60 * tide).astype(float)
    bad_share = np.full(2 * MINUTES, HEALTHY * promise.bad_share)
    first, tokens = np.full(2 * MINUTES, 0.01), np.full(2 * MINUTES, 0.01)
    down = np.zeros(2 * MINUTES, dtype=bool)
    for _ in range(28):  # surges of noise, about one in two days
        begin = int(rng.integers(0, 2 * MINUTES - 20))
        there = slice(begin, begin + int(rng.integers(2, 15)))
        bad_share[there] = promise.bad_share * rng.uniform(*SURGE)
        first[there] = bad_share[there]
    for _ in range(4):  # harmless: long prompts, whose readers are promised more time; batch work beside the readers
        begin = int(rng.integers(MINUTES, 2 * MINUTES - 400))
        first[begin : begin + int(rng.integers(60, 360))] = rng.uniform(0.1, 0.5)
    incidents = []
    for begin in rng.choice(np.arange(MINUTES + LATE, 2 * MINUTES - 2 * LATE, 3 * LATE), size=8, replace=False):
        kind = str(rng.choice(list(KINDS)))
        length = int(np.exp(rng.uniform(np.log(20), np.log(360))))
        share = float(np.exp(rng.uniform(np.log(0.08), 0.0)))
        start = int(begin) + int(rng.integers(0, LATE))
        incidents.append(Incident(kind, start, start + length, share))
        there = slice(start, start + length)
        bad_share[there] = share
        first[there] = np.maximum(first[there], share * KINDS[kind].slow_first)
        tokens[there] = np.maximum(tokens[there], share * KINDS[kind].slow_tokens)
        down[there] |= KINDS[kind].down and share > 0.5
    whole = requests.astype(np.int64)
    return Month(
        requests=requests,
        bad=rng.binomial(whole, bad_share).astype(float),
        slow_first=rng.binomial(whole, first).astype(float),
        slow_tokens=rng.binomial(whole, tokens).astype(float),
        down=down,
        incidents=incidents,
    )


def over(counts: Floats, minutes: int) -> Floats:
    """Sums of the last `minutes` minutes, at each minute."""
    summed = np.concatenate(([0.0], np.cumsum(counts)))
    ends = np.arange(1, len(summed))
    return summed[ends] - summed[np.maximum(0, ends - minutes)]


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def ours(of: Month, promise: Promise, rng: np.random.Generator) -> Flags:
    """Where one of the tiers that page would fire."""
    budget = over(of.requests, MINUTES)
    firing = np.zeros(len(of.requests), dtype=bool)
    for tier in burn_tiers(promise):
        if tier.severity != "critical":
            continue
        long_bad, long_all = (over(counts, round(tier.long / 60)) for counts in (of.bad, of.requests))
        short = _ratio(*(over(counts, round(tier.short / 60)) for counts in (of.bad, of.requests)))
        found = (
            (long_bad >= tier.least_bad)
            & (long_bad > tier.budget_share * promise.bad_share * budget)
            & (_ratio(long_bad, long_all) > tier.ratio)
            & (short > tier.ratio)
        )
        _same_as_the_code(tier, promise, found, long_bad, long_all, short, budget, rng)
        # The slow alert is silent while its short window holds minutes in which the fast one, the first tier, fired.
        paged = over(firing.astype(float), round(tier.short / 60)) > 0
        firing |= found & ~paged
    return firing


def _same_as_the_code(
    tier: BurnTier,
    promise: Promise,
    found: Flags,
    long_bad: Floats,
    long_all: Floats,
    short: Floats,
    budget: Floats,
    rng: np.random.Generator,
) -> None:
    """Raise RuntimeError where the code that describes the rules decides otherwise; at a hundred minutes."""
    for at in rng.integers(0, len(found), 100):
        said = fires(
            tier,
            promise,
            long_bad=float(long_bad[at]),
            long_total=float(long_all[at]),
            short_ratio=float(short[at]),
            requests=float(budget[at]),
        )
        if said != found[at]:
            raise RuntimeError(f"{tier.alert} at minute {at}: {said} by the code, {found[at]} here")


def sloth(of: Month, promise: Promise) -> Flags:
    """The page that sloth 0.16.0 generates (`sloth generate --default-slo-period=28d`).

    13.44 times the budget over 1 h and 5 m, or 5.6 times over 6 h and 30 m.
    """
    firing = np.zeros(len(of.requests), dtype=bool)
    for factor, long, short in ((13.44, 60, 5), (5.6, 360, 30)):
        both = (_ratio(over(of.bad, m), over(of.requests, m)) > factor * promise.bad_share for m in (long, short))
        firing |= np.logical_and(*both)
    return firing


@dataclass(frozen=True, slots=True)
class Percentile:
    """An alert on a 95th percentile: over how many minutes, for how many it must hold, and of how many requests."""

    window: int
    hold: int
    least: int

    def firing(self, slow: Floats, requests: Floats) -> Flags:
        """Where the percentile has been above its limit for long enough."""
        counted = over(requests, self.window)
        above = (_ratio(over(slow, self.window), counted) > 0.05) & (counted >= self.least)
        return over(above.astype(float), self.hold) >= self.hold


CHOICES: Final = tuple(itertools.starmap(Percentile, itertools.product((5, 15, 60, 360), (5, 15), (1, 10, 100, 1000))))


def down(of: Month) -> Flags:
    """Where `up` has been 0 for five minutes."""
    return over(of.down.astype(float), 5) >= 5


def best(months: Sequence[Month], promise: Promise, what: Literal["slow_first", "slow_tokens"]) -> Percentile:
    """The choice with the highest F1 score (of recall and precision) on these months."""

    def score(choice: Percentile) -> float:
        tally = Tally()
        for one in months:
            tally.add(choice.firing(getattr(one, what), one.requests), one, promise)
        return 2 * tally.caught / (tally.true + tally.pages) if tally.pages else 0.0

    return max(CHOICES, key=score)


@dataclass(slots=True)
class Tally:
    """What one alert did in all months of a cell."""

    true: int = 0
    """Incidents that deserve a page."""
    caught: int = 0
    minutes: list[float] = field(default_factory=list)
    """From the begin of a caught incident to its page."""
    pages: int = 0
    deserved: int = 0
    """Pages of incidents that deserve one."""
    false: int = 0
    """Pages of no incident at all."""
    months: int = 0
    by_kind: dict[str, list[int]] = field(default_factory=dict)
    """Caught, and all, by kind of incident."""

    def add(self, firing: Flags, of: Month, promise: Promise) -> None:
        budget = promise.budget(float(of.requests[MINUTES:].sum()))
        deserved = [
            i
            for i in of.incidents
            if (burnt := float(of.bad[i.begin : i.end].sum())) >= LEAST_BAD and burnt >= LEAST_SHARE * budget
        ]
        pages = [(begin, end) for begin, end in _episodes(firing) if begin >= MINUTES]
        self.months += 1
        self.true += len(deserved)
        self.pages += len(pages)
        self.deserved += sum(_belongs(page, deserved) for page in pages)
        self.false += sum(not _belongs(page, of.incidents) for page in pages)
        for incident in deserved:
            kind = self.by_kind.setdefault(incident.kind, [0, 0])
            kind[1] += 1
            first = next((b for b, e in pages if e >= incident.begin and b <= incident.end + LATE), None)
            if first is not None:
                kind[0] += 1
                self.caught += 1
                self.minutes.append(max(0, first - incident.begin))

    def figures(self) -> dict[str, Any]:
        return {
            "recall": round(self.caught / self.true, 3) if self.true else None,
            "median_minutes": float(np.median(self.minutes)) if self.minutes else None,
            "false_pages_per_28d": round(self.false / self.months, 3),
            "precision": round(self.deserved / self.pages, 3) if self.pages else None,
            "incidents": self.true,
            "recall_by_kind": {kind: round(c / n, 2) for kind, (c, n) in sorted(self.by_kind.items())},
        }


def _belongs(page: tuple[int, int], incidents: Sequence[Incident]) -> bool:
    return any(i.begin <= page[1] and page[0] <= i.end + LATE for i in incidents)


def _episodes(firing: Flags) -> list[tuple[int, int]]:
    """(first, last) minute of each time of firing; gaps of up to `SETTLED` minutes are none."""
    at = np.flatnonzero(firing)
    if not len(at):
        return []
    cuts = np.flatnonzero(np.diff(at) > SETTLED)
    return list(zip(at[np.concatenate(([0], cuts + 1))], at[np.concatenate((cuts, [-1]))], strict=True))


def main() -> int:
    """Simulates and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=40, help="simulated for each cell")
    parser.add_argument("--tuning", type=int, default=20, help="other months, on which the p95 alerts are tuned")
    parser.add_argument("--seed", type=int, default=20261129, help="not one that the rules were chosen with")
    parser.add_argument("--per-hour", type=float, nargs="+", default=[3, 20, 200, 3000])
    parser.add_argument("--good", type=float, nargs="+", default=[0.95, 0.99, 0.999])
    arguments = parser.parse_args()
    cells, rows = [], []
    for good in arguments.good:
        promise = Promise(good_fraction=good, window=28 * DAY)
        for per_hour in arguments.per_hour:
            rng = np.random.default_rng([arguments.seed, round(1000 * good), round(per_hour)])
            tallies: dict[str, Tally] = {}
            others = [month(rng, per_hour=per_hour, promise=promise) for _ in range(arguments.tuning)]
            first, tokens = best(others, promise, "slow_first"), best(others, promise, "slow_tokens")
            for _ in range(arguments.months):
                one = month(rng, per_hour=per_hour, promise=promise)
                slow_first = first.firing(one.slow_first, one.requests)
                slow_tokens = tokens.firing(one.slow_tokens, one.requests)
                for name, firing in {
                    "andante": ours(one, promise, rng),
                    "sloth": sloth(one, promise),
                    "TTFT p95": slow_first,
                    "TPOT p95": slow_tokens,
                    "up": down(one),
                    "TTFT, TPOT or up": slow_first | slow_tokens | down(one),
                }.items():
                    tallies.setdefault(name, Tally()).add(firing, one, promise)
            print(f"bench-alerts: {good:.1%} at {per_hour:g} requests/h", flush=True)
            for name, tally in tallies.items():
                found = tally.figures()
                cells.append({"good": good, "per_hour": per_hour, "alert": name, **found})
                if name in ("TTFT p95", "TPOT p95"):
                    cells[-1]["tuned"] = asdict(first if name == "TTFT p95" else tokens)
                shown = ("recall", "median_minutes", "false_pages_per_28d", "precision")
                rows.append(
                    [f"{good:.1%}", f"{per_hour:g}", name, *("-" if found[k] is None else found[k] for k in shown)]
                )
    path = write_result(
        "alerts",
        headline={
            f"{name}_at_99_{cell['per_hour']:g}_per_hour": cell[name]
            for cell in cells
            if cell["alert"] == "andante" and cell["good"] == 0.99
            for name in ("recall", "false_pages_per_28d", "precision")
            if cell[name] is not None
        },
        settings=vars(arguments),
        figures={"cells": cells},
        table=(
            ["good answers", "requests/h", "alert", "recall", "median minutes", "false pages in 28 d", "precision"],
            rows,
        ),
        packages=["numpy"],
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
