"""Says in a result file where its figures come from: the seeds, whether they are held out, the policy, the command."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.scheduling.runs import version_of

TUNING_SEEDS = frozenset((1, 2, 3))
"""With which constants of the policy were chosen, on the paper's profile with chat lengths."""
TUNED = ("opt-66b-4xa100-estimate", "chat")
"""The profile and the length mix with which they were chosen."""


def provenance(
    target: str, *, seeds: Iterable[int], profiles: Iterable[str], lengths: Iterable[str]
) -> Mapping[str, Any]:
    """For the settings of a result file. `target`: of make."""
    held_out = sorted(set(seeds) - TUNING_SEEDS)
    arguments = shlex.join(sys.argv[1:])
    return {
        "command": f"make {target}" + (f" ARGS={shlex.quote(arguments)}" if arguments else ""),
        "seeds_held_out": held_out,
        "seeds_of_tuning": sorted(set(seeds) & TUNING_SEEDS),
        "profiles_held_out": sorted(set(profiles) - {TUNED[0]}),
        "lengths_held_out": sorted(set(lengths) - {TUNED[1]}),
        "policy_version": version_of("qoe"),
    }
