"""Runs Andante's part of a step so that its error stops the policy, never the engine. No vLLM import here."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType


class PolicyGuard:
    """Used as `with guard:` around code that only chooses: an exception goes to `failed` and no further."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._failed(error)
        return True
