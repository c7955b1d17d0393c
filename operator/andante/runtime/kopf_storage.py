"""Replaces kopf's storages and its memory by ones that keep nothing: for events only, nothing has to be kept.

kopf's own storages read annotations of every object that kopf sees. If one of these annotations is not JSON, kopf hides
the object from every watch. Then anybody with the right to annotate a pod, or to set podTemplate, could hide the pod.
"""

from __future__ import annotations

from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory


class NoDiffBase(kopf.DiffBaseStorage):
    """Says that no object was handled before, so that kopf compares nothing."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Return nothing: kopf would copy each object of each event to find what changed."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        """Fetch nothing."""

    def store(self, **_: Any) -> None:
        """Store nothing."""


class NoProgress(kopf.ProgressStorage):
    """Says that no handler has started."""

    def fetch(self, **_: Any) -> None:
        """Fetch nothing."""

    def store(self, **_: Any) -> None:
        """Store nothing."""

    def purge(self, **_: Any) -> None:
        """Purge nothing."""

    def touch(self, **_: Any) -> None:
        """Touch nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Return the object unchanged."""
        return essence


class NoMemories(ResourceMemories):
    """Remembers no object: kopf would hold about 1 KB for each, for handlers of kinds that we do not have.

    kopf forgets an object when a watch reports its deletion. An object that is deleted while a watch is cut off would
    be remembered for ever.
    """

    async def recall(self, raw_body: Any, **how: Any) -> ResourceMemory:
        """Return a new memory, for this event only."""
        return await super().recall(raw_body, **{**how, "ephemeral": True})
