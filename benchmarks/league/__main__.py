"""Plays the league of scaling laws: who keeps what is promised to readers for the fewest replica-hours.

    make bench-league             warm-up of 100 s, readers who stay, both schedulers (some hours on two cores)
    make bench-league-full        all warm-ups, readers who leave, both promises, all rivals (many hours)

Each law is tuned with the same number of settings on one half of each workload, one configuration for all of them, and
judged on the other half. Every run is kept: what was broken off goes on where it was. Writes
benchmarks/results/league.json and .md, after each stage.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from itertools import product

from benchmarks.league import report, runs
from benchmarks.league.cases import SCHEDULERS, WARMUPS, WORKLOADS
from benchmarks.league.players import OURS, players
from benchmarks.league.playing import Progress, play
from benchmarks.league.promise import Promise
from benchmarks.league.season import JUDGING_SEEDS, Conditions, Plan, tasks


def main() -> int:
    """Play what is missing, and write the files. Return 1 where a run raised, else 0."""
    arguments = _arguments()
    plan = _plan(arguments)
    command = "make bench-league" + ("-full" if arguments.full else "")
    rest = [word for word in sys.argv[1:] if word != "--full"]
    command += f" ARGS={shlex.quote(shlex.join(rest))}" if rest else ""
    name = arguments.name
    failed: list[str] = []
    if not arguments.report_only:
        progress = Progress(sum(task.games for stage in tasks(plan) for task in stage), arguments.minutes * 60)
        for stage in tasks(plan):
            if not play(stage, arguments.jobs, progress):
                break
            report.write(plan, name=name, command=command)
        failed = progress.failed
    print(report.write(plan, name=name, command=command))
    if failed:
        print(f"{len(failed)} failed: {'; '.join(failed)}")
    return 1 if failed else 0


def _plan(arguments: argparse.Namespace) -> Plan:
    found = players(full=arguments.full or bool(arguments.players))
    if arguments.players:
        unknown = sorted({*arguments.players} - {player.name for player in found})
        if unknown:
            raise SystemExit(f"no player {unknown[0]!r}; there are {', '.join(player.name for player in found)}")
        found = tuple(player for player in found if player.name in {OURS, *arguments.players})
    conditions = [
        Conditions(warmup=warmup, scheduler=scheduler, patience=patience, promise=promise)
        for promise, warmup, patience, scheduler in product(
            arguments.promises, arguments.warmups, arguments.patience, arguments.schedulers
        )
    ]
    return Plan(
        conditions=conditions, players=found, seeds=arguments.seeds, budget=arguments.budget,
        workloads=arguments.workloads,
    )  # fmt: skip


def _patience(text: str) -> float | None:
    return None if text == "stay" else float(text)


def _arguments() -> argparse.Namespace:
    full = "--full" in sys.argv
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="all warm-ups, patience, promises and rivals")
    parser.add_argument(
        "--budget",
        type=int,
        default=40 if full else 16,
        help="settings that are tried for each law, 16 by default, 40 with --full; 1: nothing is tuned",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(JUDGING_SEEDS if full else JUDGING_SEEDS[:2]))
    parser.add_argument("--warmups", nargs="+", choices=WARMUPS, default=list(WARMUPS) if full else ["100"])
    parser.add_argument("--schedulers", nargs="+", choices=SCHEDULERS, default=list(SCHEDULERS))
    parser.add_argument("--patience", type=_patience, nargs="+", default=[None, 60.0] if full else [None],
                        help="mean patience in seconds, or stay")  # fmt: skip
    parser.add_argument("--promises", type=Promise, nargs="+", choices=list(Promise),
                        default=list(Promise) if full else [Promise.MEAN_QOE])  # fmt: skip
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--players", nargs="+", help="the rivals that play; all without it")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin nothing after so many minutes; 0: play all")
    parser.add_argument("--report-only", action="store_true", help="write the files from the runs that are kept")
    parser.add_argument("--name", default="league", help="of the result's files")
    return parser.parse_args()


if __name__ == "__main__":
    print(f"sources {runs.version()}", flush=True)
    sys.exit(main())
