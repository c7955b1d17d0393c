"""Which LoRA adapters may be in a batch: those that run, and of the others as many as the engine has slots left for.

vLLM passes over a request whose adapter finds no slot. A slot that is free goes to the adapter that has waited longest.
No vLLM import here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice


class AdapterSlots:
    """Requests with an adapter, by where they are; adapters are told apart by vLLM's number, from 1."""

    def __init__(self, slots: int, *, show: Callable[[str], None], hide: Callable[[str], None]) -> None:
        """`slots`: adapters in a batch at most. `hide` and `show` are told of requests that begin and cease to wait
        for a slot.
        """
        self._slots, self._show, self._hide = slots, show, hide
        self._adapter_of: dict[str, int] = {}
        self._waiting: dict[int, dict[str, None]] = {}
        self._running: dict[int, set[str]] = {}
        self._fitting: set[int] = set()

    def waits(self, request_id: str, adapter: int) -> None:
        """It could start but for its adapter."""
        self.leaves(request_id)
        self._adapter_of[request_id] = adapter
        self._waiting.setdefault(adapter, {})[request_id] = None
        (self._show if adapter in self._fitting else self._hide)(request_id)

    def starts(self, request_id: str, adapter: int) -> None:
        """It is in the batch."""
        self.leaves(request_id)
        self._adapter_of[request_id] = adapter
        self._running.setdefault(adapter, set()).add(request_id)

    def leaves(self, request_id: str) -> None:
        """It neither runs nor waits for a slot."""
        adapter = self._adapter_of.pop(request_id, None)
        if adapter is None:
            return
        waiting, running = self._waiting.get(adapter, {}), self._running.get(adapter, set())
        waiting.pop(request_id, None)
        running.discard(request_id)
        if not waiting:
            self._waiting.pop(adapter, None)
        if not running:
            self._running.pop(adapter, None)

    def refresh(self) -> None:
        """Gives the free slots away; asked once before each decision."""
        free = max(self._slots - len(self._running), 0)
        newcomers = (adapter for adapter in self._waiting if adapter not in self._running)
        fitting = {*self._running, *islice(newcomers, free)}
        for adapter in fitting - self._fitting:
            for request_id in self._waiting.get(adapter, ()):
                self._show(request_id)
        for adapter in self._fitting - fitting:
            for request_id in self._waiting.get(adapter, ()):
                self._hide(request_id)
        self._fitting = fitting
