"""Checks that an engine can carry out a plan. Every plan is checked, so the time depends on the plan's length only."""

from __future__ import annotations

from typing import Any

import numpy as np

from andante.domain.scheduling.view import RUNNING, Plan, RequestView


class BrokenPlanError(ValueError):
    """A plan that no engine can carry out."""


def check_plan(plan: Plan, requests: RequestView) -> None:
    """Raise BrokenPlanError, naming the field, unless `plan` can be carried out for `requests`.

    Indices must be whole numbers of the view, each once. Only waiting requests may be admitted, and only running
    requests preempted. A step must have at least one token.
    """
    _check_indices("admit", plan.admit, requests, running=False)
    _check_indices("preempt", plan.preempt, requests, running=True)
    _check_indices("victims", plan.victims, requests, running=True)
    tokens = plan.step_tokens
    if tokens is not None and (isinstance(tokens, bool) or not isinstance(tokens, int | np.integer) or tokens < 1):
        raise BrokenPlanError(f"step_tokens: must be None or a whole number from 1, got {tokens!r}")


def _check_indices(field: str, indices: Any, requests: RequestView, *, running: bool) -> None:
    if not isinstance(indices, np.ndarray) or indices.ndim != 1 or indices.dtype != np.int64:
        raise BrokenPlanError(f"{field}: must be one axis of int64, got {_kind(indices)}")
    if not indices.size:
        return
    line = np.sort(indices)
    if line[0] < 0 or line[-1] >= len(requests):
        raise BrokenPlanError(f"{field}: must be from 0 to {len(requests) - 1}, got {line[0]} to {line[-1]}")
    if (line[1:] == line[:-1]).any():
        raise BrokenPlanError(f"{field}: names a request twice")
    runs = requests.numbers[RUNNING, line] != 0
    if not (runs.all() if running else not runs.any()):
        raise BrokenPlanError(f"{field}: names a request that {'waits' if running else 'runs'}")


def _kind(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
