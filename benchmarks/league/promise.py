"""What a service promises its readers, and whether a run kept it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class Promise(StrEnum):
    """One of the two promises that a service can make."""

    MEAN_QOE = "mean-qoe"
    SHARE_GOOD = "share-good"

    @property
    def least(self) -> float:
        """The least mean QoE, or the least share of good requests."""
        return {Promise.MEAN_QOE: 0.95, Promise.SHARE_GOOD: 0.99}[self]

    def quality(self, run: Quality) -> float:
        """What the run reached of it."""
        return run.mean_qoe if self is Promise.MEAN_QOE else run.share_good

    def kept(self, run: Quality) -> bool:
        """Whether the run reached it."""
        return self.quality(run) >= self.least


class Quality(Protocol):
    """What a run gave its readers."""

    @property
    def mean_qoe(self) -> float: ...

    @property
    def share_good(self) -> float: ...
