"""Compares estimated step-time profiles with the shipped ones of the same model and GPU, at a few steps.

    make bench-estimate

The shipped profiles were made by hand from an older snapshot of the same kernels (operator/andante/profiles/README.md),
so the difference says what newer kernels and the automatic fit change, not how far either is from an engine.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from benchmarks.results_file import write_result

from andante.cli.aiconfigurator import Replica, model_of, needs_aiconfigurator
from andante.cli.estimate_command import POINTS, estimated
from andante.domain.step_time import Profile
from andante.estimate.fitting import microseconds
from andante.profiles import load_profiles


def compared(shipped: Profile) -> dict[str, Any]:
    """Of one shipped profile: the fit's errors, and the times of each step in milliseconds."""
    replica = Replica(shipped.model, shipped.gpu, shipped.tensor_parallel)
    profile, found = estimated(replica, model=shipped.model, gpu=shipped.gpu)
    steps = {}
    for label, step in POINTS:
        ours, theirs = (1e-3 * microseconds(each.coefficients, step) for each in (shipped, profile))
        steps[label] = {
            "shipped_ms": round(ours, 2),
            "estimated_ms": round(theirs, 2),
            "aiconfigurator_ms": round(1e3 * replica.seconds(step), 2),
            "difference_percent": round(100 * (theirs / ours - 1), 1),
        }
    return {
        "data": replica.data,
        "fit_error_percent": {
            "median": round(100 * found.all_steps.median, 1),
            "p95": round(100 * found.all_steps.p95, 1),
        },
        "kv_capacity_tokens": {"shipped": shipped.kv_capacity_tokens, "estimated": profile.kv_capacity_tokens},
        "steps": steps,
    }


def main() -> int:
    """Write the result, and print its table."""
    needs_aiconfigurator("make bench-estimate")
    figures = {name: compared(each) for name, each in load_profiles().items() if model_of(each.model)}
    differences = [abs(s["difference_percent"]) for each in figures.values() for s in each["steps"].values()]
    rows = [
        (
            f"`{name}`",
            *(
                f"{step['shipped_ms']:.1f} / {step['estimated_ms']:.1f} ms ({step['difference_percent']:+.0f} %)"
                for step in each["steps"].values()
            ),
            f"{each['fit_error_percent']['median']:.1f} / {each['fit_error_percent']['p95']:.1f} %",
        )
        for name, each in figures.items()
    ]
    path = write_result(
        "estimate",
        headline={
            "median_difference_percent": round(float(np.median(differences)), 1),
            "largest_difference_percent": max(differences),
        },
        settings={"steps": [label for label, _ in POINTS]},
        figures=figures,
        table=(("shipped / estimated", *(label for label, _ in POINTS), "fit: median / p95 error"), rows),
        packages=("aiconfigurator-core", "numpy", "scipy"),
    )
    print(path.with_suffix(".md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
