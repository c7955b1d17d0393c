"""Implements `andante simulate`: a recorded run of a real engine, predicted."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from andante.cli.errors import check_output
from andante.cli.recorded_runs import read_recording
from andante.cli.simulator_errors import error_rows, error_table, needs_simulator, one_profile, predicted


def simulate(
    setup: Annotated[Path, typer.Option(help="Folder with requests.csv.gz of the recorded run.")],
    index: Annotated[Path, typer.Option(help="index.yaml: the entry named as the folder has the engine's settings.")],
    profile: Annotated[str, typer.Option(help="Profile: a file with one, or the name of a shipped one.")],
    predict: Annotated[Path, typer.Option(help="CSV to write: request_id,first_token_s,last_token_s.")],
) -> None:
    """Predict when each request of a recorded run gets its first and its last token.

    The simulator serves the same requests at the same times as the recorded engine: request_id, arrival_s,
    prompt_tokens and output_tokens of requests.csv.gz, and the blocks of prefix_blocks.jsonl.gz that prompts share.
    Measured times are not used; where lines have the split `fit`, the errors on these are printed.

    `andante profile fit --help` says what the files hold and makes a profile.

    Exit status: 0 good, 2 for bad input, with file and line.

    Example:  andante simulate --setup runs/my-gpu --index runs/index.yaml --profile my-gpu.yaml --predict pred.csv
    """
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
