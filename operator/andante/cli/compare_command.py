"""Implements `andante compare`: scaling laws and schedulers beside each other on one trace."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

from andante.cli.errors import InputError, check_output, write_json
from andante.cli.fleet_case import (
    VLLM_FLAGS,
    Case,
    ClassOption,
    DurationOption,
    ExpectedOption,
    GoodOption,
    JsonOption,
    NotServedError,
    PaceOption,
    PriceOption,
    ProfileOption,
    RateOption,
    Scheduler,
    TargetOption,
    TraceOption,
    WarmupOption,
    moved,
    not_served,
    read_case,
    scaler_of,
    warm_up,
)
from andante.cli.fleet_scores import scores, settings
from andante.cli.plain import table

_JITTER = 1.0
"""Seconds by which arrivals move at most, from the second seed on."""
_COLUMNS = {
    "mean_qoe": "mean QoE",
    "p5_qoe": "p5 QoE",
    "share_good": "share good",
    "smooth_goodput_tokens_per_s": "smooth goodput, tokens/s",
    "replica_hours": "replica-hours",
    "cost_usd_per_hour": "USD/h",
    "direction_changes_per_hour": "turns/h",
    "streams_cut": "streams cut",
}


_LABELS = 2
"""Columns that name a pair."""
_GAP = 3
"""Spaces between columns, as `table` leaves them."""
_SCHEDULERS_HELP = (
    f"fcfs, priority, qoe, with commas between them. The first two have vLLM's best flags ({VLLM_FLAGS})."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    scaler: str
    scheduler: Scheduler
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fleet:
    """What all runs have in common."""

    case: Case
    lowest: int
    most: int
    start: int
    warmup: str

    def scores(self, run: _Run) -> dict[str, Any]:
        warm = warm_up(self.warmup, self.case.profile)
        scaler, start = scaler_of(
            run.scaler, self.case, lowest=self.lowest, most=self.most, warmup=warm, start=self.start
        )
        try:
            outcome = self.case.run(
                scaler, start=start, scheduler=run.scheduler, warmup=warm, seed=run.seed,
                requests=moved(self.case.requests, run.seed, by=_JITTER),
            )  # fmt: skip
        except NotServedError as error:
            raise not_served(run.scaler, run.scheduler) from error
        return scores(self.case, outcome)


def compare(
    trace: TraceOption,
    profile: ProfileOption,
    scalers: Annotated[str, typer.Option(help="Scalers with commas between them; as --scaler of `andante simulate`.")],
    schedulers: Annotated[str, typer.Option(help=_SCHEDULERS_HELP)] = "fcfs,qoe",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each pair.")] = 3,
    lowest: Annotated[int, typer.Option("--min", min=1, help="Fewest replicas.")] = 1,
    most: Annotated[int, typer.Option("--max", min=1, help="Most replicas.")] = 16,
    start: Annotated[int | None, typer.Option(min=1, help="Ready replicas at the start; --min if unset.")] = None,
    warmup: WarmupOption = "from-profile",
    class_name: ClassOption = "reading",
    expected_ttft: ExpectedOption = None,
    pace: PaceOption = None,
    target_qoe: TargetOption = 0.95,
    good_fraction: GoodOption = 0.99,
    rate_scale: RateOption = 1.0,
    duration: DurationOption = None,
    price_per_hour: PriceOption = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at once; as many as processors that it may use if unset.")
    ] = None,
    json_out: JsonOption = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report here.")] = None,
) -> None:
    """Compare scaling laws and schedulers on a trace: what readers get, and what it costs.

    Each pair of scaler and scheduler is run for each seed. The first seed has the trace as recorded; each other seed
    moves every arrival by up to a second and draws other warm-ups. The table shows means and, from two seeds on, half
    the width of their 95 % interval (Student's t). The report has the same and the curve of QoE over cost.
    fcfs and priority are vLLM's own schedulers with the flags that serve it best, the rivals in Andante's benchmarks.

    Exit status: 0 good, 2 for bad input.

    Example:  andante compare --trace examples/traces/azure2023_conv_10min.csv.gz --profile llama-3-8b-1xh100
    --rate-scale 8 --scalers static:2,static:3,andante,hpa-waiting --seeds 3 --report compare.html
    """
    check_output("--json", json_out)
    check_output("--report", report)
    begin = lowest if start is None else start
    if not lowest <= begin <= most:
        raise InputError(f"--min/--start/--max: must ascend, got {lowest}, {begin} and {most}")
    case = read_case(
        trace, profile, class_name=class_name, expected_ttft=expected_ttft, pace=pace, target_qoe=target_qoe,
        good_fraction=good_fraction, rate_scale=rate_scale, duration=duration, price=price_per_hour,
        command="andante compare",
    )  # fmt: skip
    fleet = _Fleet(case=case, lowest=lowest, most=most, start=begin, warmup=warmup)
    warm = warm_up(warmup, case.profile)
    names = split_scalers(scalers)
    for name in names:  # a wrong name is told before the first run
        scaler_of(name, case, lowest=lowest, most=most, warmup=warm, start=begin)
    pairs = list(product(names, _schedulers(schedulers)))
    runs = [_Run(scaler=n, scheduler=s, seed=seed) for n, s in pairs for seed in range(seeds)]
    console = Console()
    found = _all(fleet, runs, min(jobs or _processors(), len(runs)), console)
    rows = [
        {"scaler": n, "scheduler": s.value, **_summary(found[place * seeds : (place + 1) * seeds])}
        for place, (n, s) in enumerate(pairs)
    ]
    title = f"{trace.name} on {case.profile.name}: means of {seeds} seed{'s' if seeds > 1 else ''}"
    cells = [[row["scaler"], row["scheduler"], *(_cell(row[key]) for key in _COLUMNS)] for row in rows]
    columns = ["scaler", "scheduler", *_COLUMNS.values()]
    typer.echo(title)
    for block in blocks(columns, cells, width=console.width):
        typer.echo("\n".join(["", *block]))
    given = settings(
        case, scalers=names, schedulers=schedulers.split(","), min=lowest, max=most, start=begin, warmup=warmup,
        rate_scale=rate_scale, duration=duration, seeds=list(range(seeds)), jitter_s=_JITTER,
    )  # fmt: skip
    if json_out:
        each = [
            {"scaler": r.scaler, "scheduler": r.scheduler.value, "seed": r.seed, **f}
            for r, f in zip(runs, found, strict=True)
        ]
        write_json(json_out, {"settings": given, "summary": rows, "runs": each})
    if report:
        from andante.cli.compare_report import write_comparison

        write_comparison(report, title=title, columns=columns, cells=cells, rows=rows, settings=given)
        console.print(f"report: {report}")


def split_scalers(text: str) -> list[str]:
    """The scalers of a list; `andante:mean=0.9,down_window=60` is one. Raises InputError."""
    names: list[str] = []
    for piece in filter(None, (part.strip() for part in text.split(","))):
        if names and "=" in piece and ":" not in piece:
            names[-1] += f",{piece}"
        else:
            names.append(piece)
    if not names:
        raise InputError("--scalers: name at least one, as static:4,andante")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--scalers: {name!r} comes twice")
    return names


def _schedulers(text: str) -> list[Scheduler]:
    known = [each.value for each in Scheduler]
    for name in text.split(","):
        if name not in known:
            raise InputError(f"--schedulers: {name!r} is none of {', '.join(known)}")
    return [Scheduler(name) for name in dict.fromkeys(text.split(","))]


def _processors() -> int:
    """Those that this process may use, where the system tells it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _all(fleet: _Fleet, runs: Sequence[_Run], jobs: int, console: Console) -> list[dict[str, Any]]:
    """The scores of each run. Raises InputError where the system ends a process, as it does when memory is short."""
    if jobs == 1:
        return list(track(map(fleet.scores, runs), "simulating", total=len(runs), console=console))
    with console.status("loading the simulator; the first run compiles it, which takes minutes"):
        # Here and not in each process at once: they share what is compiled.
        import andante.sim.fleet.run  # noqa: F401
    try:
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            each = pool.map(fleet.scores, runs)  # the processes start before the progress bar's thread
            return list(track(each, "simulating", total=len(runs), console=console))
    except BrokenProcessPool as error:
        raise InputError(
            f"--jobs: a process of {jobs} was ended from outside, which happens when memory is short; give fewer jobs"
        ) from error


def _summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each score its mean and half the width of the mean's 95 % interval; None: not known, or one run alone."""
    from scipy.stats import t

    answer: dict[str, Any] = {}
    for key in _COLUMNS:
        values = [each[key] for each in found]
        if any(value is None for value in values):
            answer[key] = {"mean": None, "half_width": None}
            continue
        many = len(values)
        width = t.ppf(0.975, many - 1) * np.std(values, ddof=1) / many**0.5 if many > 1 else None
        answer[key] = {"mean": float(np.mean(values)), "half_width": None if width is None else float(width)}
    return answer


def blocks(columns: Sequence[str], cells: Sequence[Sequence[str]], *, width: int) -> list[list[str]]:
    """The lines of few tables that fit into `width`: each has all pairs and some of the scores. No figure is split."""
    widths = [max(len(line[at]) for line in (columns, *cells)) for at in range(len(columns))]
    left = sum(widths[:_LABELS]) + _GAP * (_LABELS - 1)
    parts: list[list[int]] = []
    for at in range(_LABELS, len(columns)):
        if parts and left + sum(_GAP + widths[each] for each in (*parts[-1], at)) <= width:
            parts[-1].append(at)
        else:
            parts.append([at])
    chosen = ([*range(_LABELS), *part] for part in parts)
    return [table([columns[at] for at in own], [[line[at] for at in own] for line in cells]) for own in chosen]


def _cell(figure: dict[str, float | None]) -> str:
    mean, width = figure["mean"], figure["half_width"]
    if mean is None:
        return "unknown"
    return f"{mean:.4g}" if width is None else f"{mean:.4g} ± {width:.2g}"
