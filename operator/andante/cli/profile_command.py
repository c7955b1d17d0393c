"""Implements `andante profile fit`, a step-time profile out of a recorded run, and gathers the commands of profiles."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console

from andante.cli.errors import InputError, check_output, write_json
from andante.cli.profile_file import entry_of, profile_document
from andante.cli.recorded_runs import Recording, read_recording
from andante.cli.simulator_errors import error_rows, error_table, needs_simulator
from andante.domain.step_time import Profile, StepTimeCoefficients

if TYPE_CHECKING:
    from andante.sim.real_runs.fitting import Fit

profile_app = typer.Typer(
    help="Step-time profiles: how long an engine's step takes on a GPU, as a function of its batch.\n\n"
    "The simulator and the virtual GPU take a profile. Six ship with Andante (operator/andante/profiles in the"
    " repository); `andante profile fit` makes one from a recorded run of your own engine, and `andante profile"
    " estimate` from AIConfigurator's kernel times, for a GPU that you do not have yet.\n\n"
    "Exit status: 0 good, 2 for bad input.",
    short_help="Step-time profiles: fit one to a recorded run, or estimate one.",
    no_args_is_help=True,
)

_SIGNIFICANT = 5


@profile_app.command()
def fit(
    setup_dir: Annotated[Path, typer.Argument(help="Folder with requests.csv.gz of the recorded run.")],
    index: Annotated[Path, typer.Option(help="index.yaml: the entry named as SETUP_DIR has the engine's settings.")],
    out: Annotated[Path, typer.Option(help="Profile to write (YAML).")],
    name: Annotated[str | None, typer.Option(help="Name of the profile; that of SETUP_DIR when left out.")] = None,
    kv_bytes_per_token: Annotated[int | None, typer.Option(min=1, help="KV cache bytes of one token.")] = None,
    price: Annotated[float | None, typer.Option(min=0.0, help="USD for an hour of one replica.")] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here as JSON.")] = None,
) -> None:
    """Fit a step-time profile to a recorded run of a real engine, and print its errors.

    SETUP_DIR/requests.csv.gz has a line for each request: request_id, split, arrival_s, prompt_tokens, output_tokens,
    first_token_s, last_token_s, and where known run (each has a clock of its own), queued_s, or queue_time_s and
    prefill_time_s. Times are read of lines with the split `fit` alone; the others say what else the engine had to do.
    prefix_blocks.jsonl.gz beside it has the ids of each prompt's KV blocks: {"request_id": "0", "hash_ids": [0, 1]}.

    The entry of index.yaml has max_num_seqs, max_num_batched_tokens, kv_blocks, async_scheduling, may have
    shared_prefix_tokens (with so many tokens all prompts begin alike), and may name a folder of measured kernels. The
    fit repeats the run in the simulator until its latencies are the recorded ones: some hundred runs, which take some
    minutes. The same input gives the same profile.

    Exit status: 0 good, 2 for bad input, with file and line.

    Example:  andante profile fit runs/my-gpu --index runs/index.yaml --out my-gpu.yaml
    """
    check_output("--out", out)
    check_output("--json", json_out)
    recording = read_recording(setup_dir, index, times=True)
    needs_simulator("andante profile fit")
    label = name or recording.setup.name
    console = Console()
    with console.status("fitting"):
        profile, found = fitted(recording, label, kv_bytes_per_token=kv_bytes_per_token, price=price)
    document = _document(recording, profile)
    rows = error_rows(recording, profile)
    document["profiles"][0]["fit_error_percent"] = {
        row.latency: {"mean": row.percent(row.found.mean), "p95": row.percent(row.found.p95)} for row in rows
    }
    out.write_text(yaml.safe_dump(document, sort_keys=False, width=120), encoding="utf-8")
    console.print(error_table(rows, title=f"{label}: simulated against measured, requests of the fit"))
    for key, value in document["profiles"][0]["coefficients"].items():
        typer.echo(f"  {key:18} {value:g}")
    typer.echo(f"  hand-over {found.hand_over_us:.0f} us, output path {found.output_path_us:.0f} us")
    if found.host_us is not None:
        typer.echo(f"  of fixed_us no kernel takes {found.host_us:.0f} us; {found.layers:.1f} layers of the kernels")
    typer.echo(f"{out}: profile {label!r}")
    if json_out:
        write_json(json_out, {"profile": document["profiles"][0], "fit": [asdict(row.found) for row in rows]})


def fitted(
    recording: Recording, name: str, *, kv_bytes_per_token: int | None = None, price: float | None = None
) -> tuple[Profile, Fit]:
    """The profile `name` of the recording, as its file will have it. Raises InputError for too few requests."""
    from andante.sim.real_runs.fitting import fit as fit_runs

    unfitted = _unfitted(recording, name, kv_bytes_per_token, price)
    try:
        found = fit_runs(recording.runs, recording.settings, unfitted, recording.kernels)
    except ValueError as error:
        raise InputError(f"{recording.setup.name}: {error}") from error
    coefficients = {key: _rounded(value) for key, value in asdict(found.coefficients).items()}
    profile = replace(
        unfitted,
        coefficients=StepTimeCoefficients(**coefficients),
        hand_over_us=_rounded(found.hand_over_us),
        output_path_us=_rounded(found.output_path_us),
    )
    return profile, found


def _unfitted(recording: Recording, name: str, kv_bytes_per_token: int | None, price: float | None) -> Profile:
    """The profile with all but its times."""
    setup, settings = recording.setup, recording.settings
    longest = max(int((run.prompt + run.output).max()) for run in recording.runs)
    # Where the cache never filled, its size is not known; this much is never short.
    blocks = settings.blocks or settings.max_seqs * -(-longest // settings.block_size)
    return Profile(
        name=name,
        model=setup.model,
        gpu=setup.gpu,
        tensor_parallel=setup.tensor_parallel,
        coefficients=StepTimeCoefficients(
            fixed_us=0, prefill_step_us=0, weight_floor_us=0, token_us=0, pair_us=0, decode_seq_us=0,
            context_token_us=0,
        ),
        kv_bytes_per_token=kv_bytes_per_token or 0,
        kv_capacity_tokens=blocks * settings.block_size,
        block_size=settings.block_size,
        max_num_seqs=settings.max_seqs,
        max_num_batched_tokens=settings.max_step_tokens,
        price_per_replica_hour=math.nan if price is None else price,
        warmup_median_seconds=math.nan,
        warmup_p95_seconds=math.nan,
    )  # fmt: skip


def _document(recording: Recording, profile: Profile) -> dict[str, Any]:
    """The profile's file."""
    known = sum(int(run.fit.sum()) for run in recording.runs)
    confidence = (
        "fitted to a recorded run; right for batches like those of that run"
        if recording.kernels is None
        else "fitted to a recorded run and to the GPU's kernel times"
    )
    if recording.settings.blocks is None:
        confidence += "; the size of the KV cache is not known, it was never full"
    entry = entry_of(
        profile,
        outside_engine={"hand_over_us": profile.hand_over_us, "output_path_us": profile.output_path_us},
        confidence=confidence,
        source=f"andante profile fit, {known} requests of {recording.setup.name}",
    )
    return profile_document(entry)


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT}g}")
