"""Remembers the Events that this process has written, so that a repetition is counted in the one that exists."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

_MOST = 8_192
"""Events that are remembered; the API server keeps an Event for an hour."""

Key = tuple[str, str, str]
"""Uid of the object, reason, series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An Event that was written."""

    name: str
    count: int


class ToldEvents:
    """The newest Events, by what they are about; the oldest are forgotten. One thread at a time writes of an object."""

    def __init__(self) -> None:
        self._told: OrderedDict[Key, Told] = OrderedDict()

    def find(self, key: Key) -> Told | None:
        """The Event that a repetition is counted in; None where there is none."""
        return self._told.get(key)

    def keep(self, key: Key, told: Told) -> None:
        """Remember an Event as it is now."""
        self._told[key] = told
        self._told.move_to_end(key)
        while len(self._told) > _MOST:
            self._told.popitem(last=False)
