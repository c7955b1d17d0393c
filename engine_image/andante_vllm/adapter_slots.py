"""Decides which LoRA adapters may be in a batch: the running adapters, and others while the engine has free slots.

vLLM skips a request whose adapter finds no slot. A free slot goes to the adapter that has waited longest.
No vLLM import here.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice


class AdapterSlots:
    """Tracks requests with an adapter. vLLM's number, from 1, identifies an adapter."""

    def __init__(self, slots: int, *, show: Callable[[str], None], hide: Callable[[str], None]) -> None:
        """`slots`: most adapters in a batch. `hide` is called when a request starts to wait for a slot, `show` when the
        wait ends.
        """
        self._slots, self._show, self._hide = slots, show, hide
        self._adapter_of: dict[str, int] = {}
        self._waiting: dict[int, dict[str, None]] = {}
        self._running: dict[int, set[str]] = {}
        self._fitting: set[int] = set()

    def waits(self, request_id: str, adapter: int) -> None:
        """Note that the request waits only for its adapter."""
        self.leaves(request_id)
        self._adapter_of[request_id] = adapter
        self._waiting.setdefault(adapter, {})[request_id] = None
        (self._show if adapter in self._fitting else self._hide)(request_id)

    def starts(self, request_id: str, adapter: int) -> None:
        """Note that the request is in the batch."""
        self.leaves(request_id)
        self._adapter_of[request_id] = adapter
        self._running.setdefault(adapter, set()).add(request_id)

    def leaves(self, request_id: str) -> None:
        """Note that the request neither runs nor waits for a slot."""
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
        """Give the free slots to waiting adapters; called once before each decision."""
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
