"""kopf's storages, which keep nothing: only events are handled, so that there is nothing to keep.

kopf's own read annotations of every object that it sees, and one of them that is no JSON hides the object from every
watch. Whoever may annotate a pod, or name annotations in a podTemplate, could hide it so.
"""

from __future__ import annotations

from typing import Any

import kopf


class NoDiffBase(kopf.DiffBaseStorage):
    """No object has been handled before, and nothing of one is ever compared with what it was."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing of it: kopf would copy each object of each event to find what has changed."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        """Nothing."""

    def store(self, **_: Any) -> None:
        """Nowhere."""


class NoProgress(kopf.ProgressStorage):
    """No handler has begun anything."""

    def fetch(self, **_: Any) -> None:
        """Nothing."""

    def store(self, **_: Any) -> None:
        """Nowhere."""

    def purge(self, **_: Any) -> None:
        """Nothing is there."""

    def touch(self, **_: Any) -> None:
        """Nothing is there."""

    def clear(self, *, essence: Any) -> Any:
        """As it is."""
        return essence
