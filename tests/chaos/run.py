"""Draws groups of faults from a seed, causes them, and checks after each group what must hold."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chaos.convergence import Convergence
from chaos.faults import Fault, Reach, all_faults
from chaos.reaction import React
from chaos.services import Part
from chaos.stage import Stage

AT_ONCE = 32
SPAN_SECONDS = 10.0
"""Time in which the faults of a group begin."""
LONGEST_SECONDS = 3.0
"""Longest duration of a fault that is not `long`."""
FIRST_SECONDS = 300.0
"""Time limit for all services to run before the first fault."""
_CONTAINED_SHARE = 0.5
"""Share of groups whose faults affect victims only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One planned fault."""

    fault: Fault
    at: float
    """Seconds after its group began."""
    seconds: float
    seed: int


@dataclass(slots=True, kw_only=True)
class Report:
    """The result of a run."""

    seed: int
    faults: Counter[str]
    wrong: list[str]
    longest_convergence: float = 0.0
    most_reads: int = 0
    """Most scrapes that a service had to wait for the decision about its new replicas."""
    longest_write: float = 0.0
    """Most seconds from that decision to its write."""

    def text(self) -> str:
        lines = [f"{count:5d}  {name}" for name, count in sorted(self.faults.items())]
        lines.append(
            f"seed {self.seed}: {self.faults.total()} faults of {len(self.faults)} kinds; all as it should be after at"
            f" most {self.longest_convergence:.1f} s; decided after at most {self.most_reads} scrapes,"
            f" written {self.longest_write:.1f} s later"
        )
        return "\n".join([*lines, *(f"WRONG: {wrong}" for wrong in self.wrong)])


def draw(chance: random.Random, faults: Sequence[Fault], count: int) -> list[Planned]:
    """A group of random faults."""
    chosen = chance.choices(faults, [fault.weight for fault in faults], k=count)
    return [plan(chance, fault) for fault in chosen]


def plan(chance: random.Random, fault: Fault) -> Planned:
    """Draw when the fault begins and how long it lasts."""
    return Planned(
        fault=fault,
        at=0.0 if fault.long else chance.uniform(0, SPAN_SECONDS),
        seconds=chance.uniform(0.2, LONGEST_SECONDS),
        seed=chance.randrange(2**32),
    )


class Chaos:
    """Runs groups of faults on one stage. The first group with a violation is the last."""

    def __init__(self, stage: Stage, *, seed: int, say: Callable[[str], None]) -> None:
        self._stage, self._say = stage, say
        self.chance = random.Random(seed)  # noqa: S311  no secret
        self.report = Report(seed=seed, faults=Counter(), wrong=stage.wrong)
        self._convergence = Convergence(stage, self.chance)
        self._react = React(stage)

    def begin(self) -> None:
        """Wait until all services run."""
        self._stage.lift_held()
        self._convergence.wait(seconds=FIRST_SECONDS)

    def group(self, planned: Sequence[Planned]) -> None:
        """Cause the faults, then check."""
        began = time.monotonic()
        contained = all(one.fault.reach is Reach.VICTIM for one in planned)
        for service in self._stage.in_part(Part.STEADY):
            self._react.turn(service, at_once=contained)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            work = [pool.submit(self._let_loose, one, began) for one in planned]
            if contained:
                self._react.all_the_time(lambda: not all(one.done() for one in work))
            for one in work:
                one.result()
        self.report.faults.update(one.fault.name for one in planned)
        self._stage.lift_held()
        # Faults may have removed anything, the scaler's memory too. Now the services must follow again.
        for service in self._stage.in_part(Part.STEADY):
            self._react.turn(service, at_once=False)
        took = self._convergence.wait()
        self.report.longest_convergence = max(self.report.longest_convergence, took)
        self.report.most_reads = self._react.most_reads
        self.report.longest_write = self._react.longest_write
        kind = "contained" if contained else "of all kinds"
        self._say(
            f"{self.report.faults.total():5d} faults; the last {len(planned)}, {kind}, took"
            f" {time.monotonic() - began - took:.0f} s, all was as it should {took:.1f} s later;"
            f" memory {', '.join(f'{one.resident_mib():.0f}' for one in self._stage.operators.both)} MiB"
        )

    def _let_loose(self, one: Planned, began: float) -> None:
        time.sleep(max(0.0, began + one.at - time.monotonic()))
        try:
            one.fault.work(self._stage, random.Random(one.seed), one.seconds)  # noqa: S311  no secret
        except Exception as error:
            raise RuntimeError(f"the fault {one.fault.name!r} could not be brought about") from error


def run(
    *, faults: int, seed: int, minutes: float, group: int, only: str, folder: Path, say: Callable[[str], None]
) -> Report:
    """Run until so many faults were caused, the time is over, or there is a violation."""
    until = time.monotonic() + 60 * minutes
    known = [fault for fault in all_faults() if only in fault.name]
    contained = [fault for fault in known if fault.reach is Reach.VICTIM]
    with Stage(folder) as stage:
        chaos = Chaos(stage, seed=seed, say=say)
        chaos.begin()
        while chaos.report.faults.total() < faults and time.monotonic() < until and not stage.wrong:
            count = min(group, faults - chaos.report.faults.total())
            is_contained = contained and chaos.chance.random() < _CONTAINED_SHARE
            chaos.group(draw(chaos.chance, contained if is_contained else known, count))
    return chaos.report


def main() -> None:
    """Run `make chaos`. Exit status 1 where there was a violation."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=2000, help="number of faults (default %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="seed of the random numbers (default: a random one)")
    parser.add_argument(
        "--minutes", type=float, default=240.0, help="begin no new group after this time (default %(default)s)"
    )
    parser.add_argument("--group", type=int, default=50, help="faults between two checks (default %(default)s)")
    parser.add_argument("--only", default="", help="only kinds whose names contain this text (default: all)")
    parser.add_argument("--kinds", action="store_true", help="print the kinds of faults, and exit")
    parser.add_argument(
        "--keep", type=Path, default=None, help="new folder for the operators' logs (default: none kept)"
    )
    arguments = parser.parse_args()
    if arguments.kinds:
        print("\n".join(f"{fault.reach.value:7}  {fault.name}" for fault in all_faults()))
        return
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = run(
            faults=arguments.faults,
            seed=seed,
            minutes=arguments.minutes,
            group=arguments.group,
            only=arguments.only,
            folder=folder,
            say=lambda text: print(text, flush=True),
        )
    print(report.text())
    sys.exit(bool(report.wrong))
