"""Prints progress to stderr, so that stdout has only the result of a command."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from hack.localcluster.errors import ClusterError

_STARTED = time.monotonic()


def say(text: str) -> None:
    """Print one line, with the seconds since the start of the tool."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def wait_until(
    ready: Callable[[], bool],
    *,
    what: str,
    timeout_seconds: float,
    still_possible: Callable[[], str | None] = lambda: None,
    poll_seconds: float = 0.05,
    say_every_seconds: float = 10.0,
) -> None:
    """Poll `ready` until it is true.

    A message names `what` every `say_every_seconds`. `still_possible` returns None, or the reason why the wait cannot
    succeed any more, such as a process that died.

    Raises ClusterError when `still_possible` gives a reason or `timeout_seconds` have passed.
    """
    started = time.monotonic()
    said = started
    while not ready():
        reason = still_possible()
        now = time.monotonic()
        if reason:
            raise ClusterError(f"waited for {what}: {reason}")
        if now - started > timeout_seconds:
            raise ClusterError(f"waited {timeout_seconds:.0f} s for {what}, which did not happen")
        if now - said >= say_every_seconds:
            say(f"waiting for {what} ({now - started:.0f} s of at most {timeout_seconds:.0f} s)")
            said = now
        time.sleep(poll_seconds)
