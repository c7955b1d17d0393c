"""Implements `andante simulate`: a trace on a fleet, or a recorded run of a real engine, predicted."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from andante.cli.errors import InputError, check_output, write_json
from andante.cli.fleet_case import (
    SCHEDULER_HELP,
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
    SeedOption,
    TargetOption,
    WarmupOption,
    not_served,
    read_case,
    scaler_of,
    warm_up,
)
from andante.cli.fleet_scores import minutes, per_class, scores, settings
from andante.cli.recorded_runs import read_recording
from andante.cli.report import flatten
from andante.cli.simulator_errors import error_rows, error_table, needs_simulator, one_profile, predicted


def simulate(
    profile: ProfileOption,
    trace: Annotated[
        Path | None, typer.Option(help="Workload trace; `andante trace --help` says in which form.")
    ] = None,
    scheduler: Annotated[Scheduler, typer.Option(help=SCHEDULER_HELP)] = Scheduler.QOE,
    scaler: Annotated[
        str, typer.Option(help="static:4, andante, or a scaling law, each with :setting=value,… if wanted.")
    ] = "andante",
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
    seed: SeedOption = 0,
    json_out: JsonOption = None,
    setup: Annotated[Path | None, typer.Option(help="Instead of a trace: folder of a recorded run.")] = None,
    index: Annotated[Path | None, typer.Option(help="With --setup: index.yaml with the engine's settings.")] = None,
    predict: Annotated[Path | None, typer.Option(help="With --setup: CSV to write.")] = None,
) -> None:
    """Serve a trace on a simulated fleet that a scaling law grows and shrinks, and score what its readers got.

    Replicas are those of a step-time profile; `andante profile --help` says where one comes from. The law `andante` is
    the one that runs in the cluster; docs/reference/rival-laws.md names the others. The JSON has all scores, also by
    class, the run minute by minute, and the settings. The same arguments give the same figures.

    With --setup, --index and --predict it predicts a recorded run of a real engine instead: request_id, first_token_s
    and last_token_s of each request. `andante profile fit --help` says what the files hold.

    Exit status: 0 good, 2 for bad input, with the option, or file and line.

    Example:  andante simulate --trace examples/traces/azure2023_conv_10min.csv.gz --profile llama-3-8b-1xh100
    --rate-scale 8 --scaler andante --max 8 --warmup 100 --json run.json
    """
    if setup is not None or index is not None or predict is not None:
        if trace is not None:
            raise InputError("--trace: is not for a recorded run; leave out --trace, or --setup, --index and --predict")
        for option, value in (("--setup", setup), ("--index", index), ("--predict", predict)):
            if value is None:
                raise InputError(f"{option}: is missing; a recorded run needs --setup, --index and --predict")
        if setup is not None and index is not None and predict is not None:
            _predict(setup, index, profile, predict)
        return
    if trace is None:
        raise InputError("--trace: is missing; name a workload trace, or --setup for a recorded run")
    check_output("--json", json_out)
    begin = lowest if start is None else start
    if not lowest <= begin <= most:
        raise InputError(f"--min/--start/--max: must ascend, got {lowest}, {begin} and {most}")
    case = read_case(
        trace, profile, class_name=class_name, expected_ttft=expected_ttft, pace=pace, target_qoe=target_qoe,
        good_fraction=good_fraction, rate_scale=rate_scale, duration=duration, price=price_per_hour,
        command="andante simulate",
    )  # fmt: skip
    warm = warm_up(warmup, case.profile)
    chosen, begin = scaler_of(scaler, case, lowest=lowest, most=most, warmup=warm, start=begin)
    console = Console()
    with console.status(f"simulating {case.requests.arrival.size} requests"):
        try:
            outcome = case.run(chosen, start=begin, scheduler=scheduler, warmup=warm, seed=seed)
        except NotServedError as error:
            raise not_served(scaler, scheduler) from error
    found = scores(case, outcome)
    table = Table("score", "value", title=f"{trace.name} on {case.profile.name}, {scaler}, {scheduler}")
    for row in flatten(found):
        table.add_row(*row)
    console.print(table)
    if json_out:
        document = {
            "settings": settings(
                case, scheduler=scheduler.value, scaler=scaler, min=lowest, max=most, start=begin, warmup=warmup,
                rate_scale=rate_scale, duration=duration, seed=seed,
            ),
            "scores": found,
            "classes": per_class(case, outcome),
            "minutes": minutes(outcome),
            "changes": [{"at_s": at, "replicas": replicas} for at, replicas in outcome.changes],
        }  # fmt: skip
        write_json(json_out, document)


def _predict(setup: Path, index: Path, profile: str, predict: Path) -> None:
    check_output("--predict", predict)
    recording = read_recording(setup, index, times=False)
    chosen = one_profile(profile)
    needs_simulator("andante simulate")
    prediction = predicted(recording, chosen)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("request_id", "first_token_s", "last_token_s"))
    for run, (first, last) in zip(recording.runs, prediction, strict=True):
        for row in zip(run.ids, first, last, strict=True):
            writer.writerow((row[0], f"{row[1]:.6f}", f"{row[2]:.6f}"))
    predict.write_text(buffer.getvalue(), encoding="utf-8")
    rows = error_rows(recording, chosen, prediction)
    if rows:
        Console().print(error_table(rows, title=f"{recording.setup.name}: simulated against measured, split fit"))
    typer.echo(f"{predict}: {sum(len(run.ids) for run in recording.runs)} requests with profile {chosen.name!r}")
