"""Keeps a history of numbers in two bytes each, and as one short text in the status.

A plan keeps hundreds of numbers for each service: as Python's floats and as lists of JSON they are most of the
operator's memory and of the resource. Half precision (IEEE 754 binary16) keeps 0.05 % of each, which a forecast does
not notice. What is kept is rounded at once, so that a restarted operator goes on with the very same numbers.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

_HALF = np.dtype("<f2")
LARGEST = 65504.0
"""Largest number that is kept; larger ones count as this."""


def half(value: float) -> float:
    """The number as a series keeps it."""
    return float(np.float16(min(max(value, -LARGEST), LARGEST)))


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers, oldest first."""

    data: bytes = b""
    """Two bytes for each number, little-endian."""

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """The numbers as a series keeps them."""
        return cls(np.clip(np.asarray(tuple(values), dtype=np.float64), -LARGEST, LARGEST).astype(_HALF).tobytes())

    def appended(self, value: float, *, most: int) -> Self:
        """The newest `most` numbers, `value` the last of them."""
        return type(self)((self.data + type(self).of((value,)).data)[-2 * most :])

    def array(self) -> NDArray[np.float64]:
        """The numbers; a copy of shape (length,)."""
        return np.frombuffer(self.data, dtype=_HALF).astype(np.float64)

    def __len__(self) -> int:
        return len(self.data) // 2

    def __getitem__(self, index: int) -> float:
        return float(np.frombuffer(self.data, dtype=_HALF)[index])

    def __iter__(self) -> Iterator[float]:
        return iter(self.array().tolist())

    def to_text(self) -> str:
        """The numbers in base64."""
        return base64.b64encode(self.data).decode("ascii")

    @classmethod
    def from_text(cls, text: Any, *, most: int, least: float = -math.inf) -> Self:
        """The newest `most` numbers of a text, which may be anything. Raises ValueError or TypeError where it is none,
        or holds a number that is not finite or below `least`."""
        if not isinstance(text, str):
            raise TypeError(f"no text: {text!r:.40}")
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ValueError(f"no base64: {error}") from error
        if len(data) % 2:
            raise ValueError("half a number")
        series = cls(data[-2 * most :])
        values = series.array()
        if not (np.isfinite(values).all() and (values >= least).all()):
            raise ValueError("a number is out of range")
        return series


EMPTY: Final = Series()
