"""A table of what the prefix cache holds: by content, the block in which a request finds it.

A hash table with open addressing (Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithms L and R).
It is as large as the cache and not as the workload, so that a fleet's memory does not grow with replicas x requests.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from andante.domain.compiled import Ints, uncounted

_GOLDEN = -7046029254386353131
"""2^64 over the golden ratio, as a signed number: multiplied by it, neighbours lie far apart."""


class Contents(NamedTuple):
    """Contents >= 0 and their blocks; a power of two places, at least twice as many as there are blocks."""

    keys: Ints
    """The content at each place; -1: none."""
    blocks: Ints

    @classmethod
    def of(cls, blocks: int) -> Self:
        """An empty table for the contents of `blocks` blocks."""
        places = 1 << max(2 * blocks, 2).bit_length()
        return cls(np.full(places, -1), np.full(places, -1))


@uncounted
def block_with(table: Contents, content: int) -> int:
    """The block that holds `content`, or -1."""
    place = _place(table, content)
    return int(table.blocks[place]) if table.keys[place] >= 0 else -1


@uncounted
def note(table: Contents, content: int, block: int) -> None:
    """Note that `block` holds `content`, in place of what was noted before."""
    place = _place(table, content)
    table.keys[place], table.blocks[place] = content, block


@uncounted
def forget(table: Contents, content: int) -> None:
    """Forget where `content` is. Later ones move up, so that no search ends before them."""
    keys, blocks = table.keys, table.blocks
    last = keys.size - 1
    hole = _place(table, content)
    place = (hole + 1) & last
    while keys[place] >= 0:
        if (place - _home(keys[place], last)) & last >= (place - hole) & last:
            keys[hole], blocks[hole] = keys[place], blocks[place]
            hole = place
        place = (place + 1) & last
    keys[hole] = -1


@uncounted
def _home(content: int, last: int) -> int:
    """Where the search for `content` begins: eight neighbours lie side by side."""
    number = int(content)
    return ((((number >> 3) * _GOLDEN) >> 29) << 3 | (number & 7)) & last


@uncounted
def _place(table: Contents, content: int) -> int:
    """The place of `content`, or the free one where it would be."""
    keys = table.keys
    last = keys.size - 1
    place = _home(content, last)
    while keys[place] >= 0 and keys[place] != content:
        place = (place + 1) & last
    return place
