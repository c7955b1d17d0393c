"""Tells an engine core that works from one that hangs: a GPU's kernel or a collective operation that never ends.

vLLM's own /health asks only whether the core's process is there. The core sends a message with each step, also with a
step of a long prefill that makes no token. So a core that sends nothing while requests are open makes no step. No vLLM
import.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from andante.engine_config import HANGS
from andante_vllm.company import Company
from andante_vllm.engine_demand import open_requests

DOUBTFUL_SECONDS: Final = 10.0
"""Silence from which on it is no load that delays tokens: a step takes less than a second."""


FORGOTTEN_SECONDS: Final = 30.0
"""Time without requests after which it means nothing that the core did not answer the last one: its reader left before
the core began."""


class CoreMessages:
    """What the hooks see of the engine core, in the event loop's thread."""

    __slots__ = ("heard_at", "known")

    def __init__(self) -> None:
        self.known = False
        """Whether this vLLM lets the hooks see the core's messages."""
        self.heard_at = -math.inf
        """When the core sent the last message, `time.monotonic()` seconds."""


class EngineProgress:
    """Judges one engine core. For the event loop's thread."""

    def __init__(
        self, messages: CoreMessages, company: Company, *, patience: float, monotonic: Callable[[], float]
    ) -> None:
        """`company`: the calls that the clients' requests have made. `patience`: seconds of silence after which the
        core counts as hung; 0: it never does. `monotonic`: the clock of both."""
        self._messages, self._company = messages, company
        self._patience = patience
        self._monotonic = monotonic
        self._hung = False
        self._asked_at = -math.inf
        """Begin of the calls to which the core has said nothing yet: of the first of them, as readers who leave and
        ask again must not make a hang look young."""

    def silent_seconds(self, client: Any) -> float | None:
        """For how long the core has sent nothing while requests are open; 0 while none is; None: not known.

        `client`: vLLM's engine client. Without statistics (`--disable-log-stats`) a core sends tokens only, and a long
        prefill would look like a hang.
        """
        opened = self._open(client)
        if opened is None or not self._messages.known or not getattr(client, "log_stats", False):
            return None
        now, heard_at = self._monotonic(), self._messages.heard_at
        if not opened:
            if now - self._company.idle_since > FORGOTTEN_SECONDS:
                self._asked_at = -math.inf
            return 0.0
        if heard_at >= self._asked_at:
            self._asked_at = self._company.busy_since
        return max(0.0, now - max(self._asked_at, heard_at))

    def _open(self, client: Any) -> int | None:
        """Requests that wait for the core. By the client's list alone, one that vLLM forgot to remove would make an
        idle core look hung; by the calls alone, one whose answer is complete and whose reader takes long over it."""
        listed = open_requests(client)
        return None if listed is None else min(listed, self._company.running)

    def is_doubtful(self, client: Any) -> bool:
        """Whether the core has been silent for so long that the delay of its requests is a fault, and no load."""
        return (self.silent_seconds(client) or 0.0) > DOUBTFUL_SECONDS

    def hangs(self, client: Any) -> bool:
        """Whether the core has been silent for longer than `patience`."""
        return self._patience > 0 and (self.silent_seconds(client) or 0.0) > self._patience

    def turned(self, client: Any) -> str | None:
        """What to log where the core began to hang, or works again, since the last call; None: nothing changed."""
        hung = self.hangs(client)
        if hung == self._hung:
            return None
        self._hung = hung
        if not hung:
            return "the engine core works again"
        return (
            f"{HANGS}: it has sent nothing for {self._patience:.0f} s while {self._open(client)}"
            " requests are open. /health answers 503 from now on"
        )
