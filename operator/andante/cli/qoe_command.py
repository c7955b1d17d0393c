"""Implements `andante qoe`: the measures of one answer, from the delivery times of its tokens."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from andante.cli.errors import InputError, check_output, write_json
from andante.domain.fluidity import fluidity_index, latencies
from andante.domain.goodput import ALPHA_FACTORS, IDLE_COST, Origin, benefit, idle_latency
from andante.domain.pace import MAX_SECONDS
from andante.domain.qoe import check_expectation, is_good, score_timeline, score_whole
from andante.domain.request_meter import Objective


def read_delivery(text: str) -> list[float]:
    """Delivery times in seconds, one a line or as JSON {"delivery": [...]}; InputError names the line or the item."""
    if text.lstrip().startswith("{"):
        try:
            document: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"line {error.lineno}: not JSON: {error.msg}") from error
        if not isinstance(document, dict) or not isinstance(document.get("delivery"), list):
            raise InputError('the JSON needs a list "delivery": {"delivery": [0.9, 1.1]}')
        rows = [(f"delivery[{i}]", value) for i, value in enumerate(document["delivery"])]
    else:
        rows = [(f"line {i}", _plain(line)) for i, line in enumerate(text.splitlines(), 1)]
    times: list[float] = []
    for where, value in rows:
        at = _seconds(value)
        if at is None:
            raise InputError(f"{where}: {value!r} is not a number of seconds")
        if not 0 <= at <= MAX_SECONDS:
            raise InputError(
                f"{where}: {value} must be seconds since the request was received, from 0 to {MAX_SECONDS:g}"
            )
        if times and at < times[-1]:
            raise InputError(f"{where}: {at} comes before the previous token at {times[-1]}; times must ascend")
        times.append(at)
    return times


def _plain(line: str) -> object:
    """The number in a line of plain text, or the text if it is not a number."""
    text = line.strip()
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def measure(
    delivery: list[float], *, expected_ttft: float, pace: float, objective: Objective, whole: bool = False
) -> dict[str, Any]:
    """All measures of one answer, in the JSON form of `andante qoe`; unknown figures are None."""
    figures = latencies(delivery)
    if whole:
        end = delivery[-1] if delivery else 0.0
        score = score_whole(len(delivery), at=end, expected_ttft=expected_ttft, pace=pace)
        idle = {Origin.ARRIVAL.value: score.mean_delay if delivery else 0.0}  # one deadline, and nothing before it
    else:
        score = score_timeline(delivery, expected_ttft=expected_ttft, pace=pace)
        idle = {o.value: idle_latency(delivery, expected_ttft=expected_ttft, pace=pace, origin=o) for o in Origin}
    start = idle[Origin.ARRIVAL.value]
    return {
        "expected_ttft_s": expected_ttft,
        "pace_tokens_per_s": pace,
        "delivered_tokens": score.delivered_tokens,
        "qoe": score.qoe,
        "andes_qoe": score.andes_qoe,
        "mean_delay_s": score.mean_delay if score.delivered_tokens else None,
        "good": is_good(
            qoe=score.qoe,
            mean_delay=score.mean_delay,
            objective=objective.qoe,
            tolerated_delay=objective.tolerated_delay,
        ),
        "idle_latency_s": idle,
        "smooth_goodput_benefit_tokens": {
            f"alpha={k:g}*pace": benefit(score.delivered_tokens, start, k * pace) for k in ALPHA_FACTORS
        },
        "f": IDLE_COST,
        "ttft_s": figures.ttft,
        "time_per_output_token_s": figures.tpot,
        "max_time_between_tokens_s": figures.max_tbt,
        "fluidity_index": fluidity_index(delivery, expected_ttft=expected_ttft, pace=pace),
    }


def _rows(result: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in result.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{key} ")
        else:
            rows.append(
                (
                    prefix + key,
                    "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value),
                )
            )
    return rows


def qoe(
    file: Annotated[Path | None, typer.Argument(help="Delivery times; standard input when left out.")] = None,
    expected_ttft: Annotated[float, typer.Option(help="Seconds until the user expects the first token.")] = 1.0,
    pace: Annotated[float, typer.Option(help="Tokens per second that the user reads or listens to.")] = 4.8,
    objective: Annotated[float, typer.Option(help="QoE from which a request is good.")] = 0.95,
    tolerated_delay: Annotated[float, typer.Option(help="Mean delay in seconds that is not felt; 0: off.")] = 0.2,
    whole: Annotated[bool, typer.Option("--whole", help="The answer did not stream: it is due as a whole.")] = False,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here as JSON.")] = None,
) -> None:
    """Score one answer from the times at which its tokens were delivered.

    Times are seconds since the request was received, one a line, or JSON: {"delivery": [0.9, 1.1]}.
    docs/concepts/qoe.md explains the measures.

    Exit status: 0 when the answer was scored, 2 for bad input.

    Example:  printf '1.0\\n1.2\\n4.0\\n' | andante qoe --expected-ttft 1 --pace 5
    """
    try:
        check_expectation(expected_ttft=expected_ttft, pace=pace)
        wanted = Objective(qoe=objective, tolerated_delay=tolerated_delay)
    except ValueError as error:
        raise InputError(f"--{str(error).split(' ', 1)[0].replace('_', '-')}: {error}") from error
    check_output("--json", json_out)
    if file is None and sys.stdin.isatty():
        typer.echo("reading delivery times from standard input, one a line; end with Ctrl-D", err=True)
    try:
        text = file.read_text(encoding="utf-8") if file else sys.stdin.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"FILE: {error}") from error
    result = measure(read_delivery(text), expected_ttft=expected_ttft, pace=pace, objective=wanted, whole=whole)
    table = Table("measure", "value", title="one answer")
    for row in _rows(result):
        table.add_row(*row)
    Console().print(table)
    if json_out:
        write_json(json_out, result)
