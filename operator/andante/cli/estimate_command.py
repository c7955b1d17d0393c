"""Implements `andante profile estimate`: a step-time profile of a GPU that was never at hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml
from rich.console import Console
from rich.table import Table

from andante.cli.aiconfigurator import Memory, Replica, needs_aiconfigurator
from andante.cli.errors import InputError, check_output, write_json
from andante.cli.fleet_case import finite
from andante.cli.profile_file import entry_of, profile_document
from andante.domain.step_time import Profile
from andante.estimate.fitting import Fit, RelativeError, fit, microseconds
from andante.estimate.steps import Step, grid

ENDING: Final = "-estimate"
POINTS: Final = (
    ("64 answers at 1,000 tokens", Step(decode_seqs=64, context=1000)),
    ("256 answers at 1,000 tokens", Step(decode_seqs=256, context=1000)),
    ("prompt of 512 tokens", Step(prefill_tokens=512)),
    ("prompt of 2,048 tokens", Step(prefill_tokens=2048)),
)
"""Steps that are shown, with what they compute."""
_POOR: Final = 0.15
"""A 95th percentile of the fit's error above which the profile's form does not fit the model."""
_GIB = 2**30
_BLOCK = 16
_LEAST_TOKENS: Final = 2048
"""Tokens of KV cache below which no engine is of use, and there are too few steps to fit."""
_NO_FIT: Final = (
    "a profile has no form for this model (a mixture of experts reads more weights the more tokens there are)"
)


def estimate(
    model: Annotated[str, typer.Argument(help="Model as on Hugging Face, or a folder with its config.json.")],
    gpu: Annotated[str, typer.Argument(help="GPU, such as h100_sxm, l40s or H100-SXM5-80GB.")],
    out: Annotated[Path, typer.Option(help="Profile to write (YAML).")],
    tp: Annotated[int, typer.Option(min=1, help="GPUs of one replica (tensor parallelism).")] = 1,
    name: Annotated[
        str | None, typer.Option(help=f"Name of the profile, to which {ENDING} is added; from MODEL and GPU if unset.")
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, callback=finite, help="USD for an hour of one replica.")
    ] = None,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures here as JSON.")] = None,
) -> None:
    """Estimate a step-time profile of a model on a GPU from measured kernels. It needs neither the GPU nor a network.

    AIConfigurator (the extra `estimate`) has times of vLLM's kernels on many GPUs. It is asked how long some hundred
    steps take: prompts of 64 to 8,192 tokens, batches of up to 512 answers, and both at once. The profile is fitted to
    its answers. No engine was run, so the profile's name ends with -estimate, and the printed error is that of the fit
    alone. The warm-up is not known: give `andante simulate` its --warmup.

    Exit status: 0 good, 2 for bad input.

    Example:  andante profile estimate Qwen/Qwen3-32B h200_sxm --tp 2 --out qwen3-h200.yaml
    """
    check_output("--out", out)
    check_output("--json", json_out)
    needs_aiconfigurator("andante profile estimate")
    console = Console()
    with console.status("estimating"):
        replica = Replica(model, gpu, tp)
        profile, found = estimated(replica, model=model, gpu=gpu, name=name, price=price)
    entry = _entry(replica, profile, found)
    out.write_text(yaml.safe_dump(profile_document(entry), sort_keys=False, width=120), encoding="utf-8")
    rows = compared(replica, profile)
    table = Table("step", "AIConfigurator, ms", "profile, ms", "error", title=f"{profile.name}: from {replica.data}")
    for row in rows:
        table.add_row(
            row["step"], f"{row['estimated_ms']:.2f}", f"{row['profile_ms']:.2f}", f"{row['error_percent']:+.1f} %"
        )
    console.print(table)
    for key, value in entry["coefficients"].items():
        typer.echo(f"  {key:18} {value:g}")
    errors = found.all_steps
    typer.echo(
        f"  error of the fit over all steps: median {100 * errors.median:.1f} %, p95 {100 * errors.p95:.1f} %;"
        " how far AIConfigurator is from an engine is not in it"
    )
    if errors.p95 > _POOR:
        typer.echo(f"  {_NO_FIT}: small batches are the furthest off")
    typer.echo(f"{out}: profile {profile.name!r}")
    if json_out:
        write_json(json_out, {"profile": entry, "steps": rows})


def estimated(
    replica: Replica, *, model: str, gpu: str, name: str | None = None, price: float | None = None
) -> tuple[Profile, Fit]:
    """The profile of the replica, as its file will have it. Raises InputError where it cannot be estimated."""
    max_num_seqs, max_num_batched_tokens = 256, 2048
    memory = replica.memory(max_num_batched_tokens=max_num_batched_tokens)
    if memory.capacity >= 70 * _GIB and "a100" not in replica.system:
        # vLLM's own defaults of its server, by the GPU's memory.
        max_num_seqs, max_num_batched_tokens = 1024, 8192
    tokens = kv_capacity_tokens(memory)
    if tokens < _LEAST_TOKENS:
        raise InputError(
            f"--tp: on {replica.tensor_parallel} x {replica.system}, {memory.weights / _GIB:.1f} GiB of weights in each"
            f" of {memory.capacity / _GIB:.1f} GiB leave room for {tokens} tokens of KV cache, too few; give more GPUs"
        )
    steps = grid(kv_capacity_tokens=tokens, max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens)
    try:
        found = fit(steps, [replica.seconds(step) for step in steps])
    except ValueError as error:
        raise InputError(f"MODEL/GPU: the answers for {model} on {gpu} cannot be fitted: {error}") from error
    profile = Profile(
        name=(name or _name(model, gpu, replica)).removesuffix(ENDING) + ENDING,
        model=model,
        gpu=gpu,
        tensor_parallel=replica.tensor_parallel,
        coefficients=found.coefficients,
        kv_bytes_per_token=round(memory.kv_bytes_per_token * replica.tensor_parallel),
        kv_capacity_tokens=tokens,
        block_size=_BLOCK,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        price_per_replica_hour=math.nan if price is None else price,
        warmup_median_seconds=math.nan,
        warmup_p95_seconds=math.nan,
        confidence="low: estimated from measured kernels, no engine was run"
        + (f"; {_NO_FIT}" if found.all_steps.p95 > _POOR else ""),
        source=f"andante profile estimate, {replica.data}; host time as in the shipped profiles",
    )
    return profile, found


def kv_capacity_tokens(memory: Memory) -> int:
    """Tokens in whole blocks that a replica's KV cache holds, as in the shipped profiles (their README).

    Each GPU has its part of every token, so one GPU tells. It shows 0.99 of its memory, of which vLLM takes 0.9;
    activations take 2 GiB of this, CUDA graphs and NCCL 1 GiB.
    """
    free = 0.9 * 0.99 * memory.capacity - 3 * _GIB - memory.weights
    return max(0, int(free / memory.kv_bytes_per_token)) // _BLOCK * _BLOCK


def compared(replica: Replica, profile: Profile) -> list[dict[str, Any]]:
    """The steps of `POINTS`: AIConfigurator's time, the profile's, and how far this is from it."""
    rows = []
    for label, step in POINTS:
        asked, fitted = 1e3 * replica.seconds(step), 1e-3 * microseconds(profile.coefficients, step)
        rows.append(
            {
                "step": label,
                "estimated_ms": round(asked, 3),
                "profile_ms": round(fitted, 3),
                "error_percent": round(100 * (fitted / asked - 1), 1),
            }
        )
    return rows


def _name(model: str, gpu: str, replica: Replica) -> str:
    last = Path(model).resolve().name.lower()
    return f"{last}-{replica.tensor_parallel}x{gpu.lower().replace('_', '-')}"


def _entry(replica: Replica, profile: Profile, found: Fit) -> dict[str, Any]:
    """The profile in its file, with what it was made of."""
    return entry_of(
        profile,
        fit_error_percent={"all": _percent(found.all_steps), "decode_only": _percent(found.decode_only)},
        estimated_with={
            "package": "aiconfigurator-core",
            "version": replica.package_version,
            "model": replica.model,
            "system": replica.system,
            "backend": "vllm",
            "backend_version": replica.data_version,
        },
        confidence=profile.confidence,
        source=profile.source,
    )


def _percent(error: RelativeError) -> dict[str, float]:
    return {"median": round(100 * error.median, 1), "p95": round(100 * error.p95, 1)}
