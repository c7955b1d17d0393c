"""Defines the requests that a simulated replica serves: arrays, one place for each request, in order of arrival."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from andante.domain.compiled import Floats, Ints
from andante.domain.pace import QoEClass

NO_SOURCE = -1
"""In `Requests.source`: the prompt begins like no other."""


class Requests(NamedTuple):
    """All requests of a run; arrays of shape (requests,). A tuple, because compiled code takes tuples."""

    arrival: Floats
    """Seconds from the start, ascending."""
    prompt: Ints
    """Tokens, at least 1."""
    output: Ints
    """Tokens of the whole answer, at least 1. No policy sees this number."""
    longest: Ints
    """Most tokens that the request may generate, at least `output`."""
    class_index: Ints
    expected_ttft: Floats
    """τ0, seconds; infinite for a request without a reader."""
    seconds_per_token: Floats
    """1/p of the reader; 0 for a request without a reader."""
    pace_place: Ints
    """The reader's pace, a place in `paces`."""
    paces: Floats
    """All paces, tokens/s, ascending, shape (paces,). The first is 0, for requests without a reader."""
    deadline: Floats
    """End-to-end deadline in seconds since the arrival; NaN for a reader."""
    weight: Floats
    priority: Ints
    """vLLM's: the smaller number first."""
    patience: Floats
    """Seconds with nothing to read after which the reader leaves; infinite: never."""
    source: Ints
    """An earlier request whose prompt and answer this prompt begins with, or NO_SOURCE."""
    shared: Ints
    """Number of tokens that both begin with."""

    @classmethod
    def of(
        cls,
        *,
        arrival: ArrayLike,
        prompt_tokens: ArrayLike,
        output_tokens: ArrayLike,
        classes: Sequence[QoEClass],
        class_of: ArrayLike,
        most_tokens: int,
        patience: ArrayLike = math.inf,
        priority: ArrayLike = 0,
        source: ArrayLike = NO_SOURCE,
        shared: ArrayLike = 0,
    ) -> Self:
        """From the workload's arrays, each of shape (requests,) or one number for all.

        `class_of`: index into `classes`. `most_tokens`: the model's longest context. Raises ValueError naming the
        field and the first request that is wrong.
        """
        times = np.asarray(arrival, dtype=np.float64)
        if times.ndim != 1:
            raise ValueError(f"arrival must have one dimension, got shape {times.shape}")

        def whole(numbers: ArrayLike) -> Ints:
            return np.broadcast_to(np.asarray(numbers, dtype=np.int64), times.shape).copy()

        prompt, output, index = whole(prompt_tokens), whole(output_tokens), whole(class_of)
        _check("class_of", (index >= 0) & (index < len(classes)), f"must be an index of {len(classes)} classes", index)
        _check("prompt_tokens", prompt >= 1, "must be at least 1", prompt)
        expected_ttft, own_pace, deadline = _expected(classes, index, prompt)
        reads = (own_pace > 0) & np.isnan(deadline)
        pace = np.where(reads, own_pace, 0.0)
        paces, place = np.unique(np.concatenate(([0.0], pace)), return_inverse=True)
        made = cls(
            arrival=times.copy(),
            prompt=prompt,
            output=output,
            longest=most_tokens - prompt,
            class_index=index,
            expected_ttft=np.where(reads, expected_ttft, math.inf),
            seconds_per_token=np.where(reads, 1 / np.where(reads, pace, 1.0), 0.0),
            pace_place=np.ascontiguousarray(place[1:], dtype=np.int64),
            paces=paces,
            deadline=deadline,
            weight=np.array([each.weight for each in classes], dtype=np.float64)[index],
            priority=whole(priority),
            patience=np.broadcast_to(np.asarray(patience, dtype=np.float64), times.shape).copy(),
            source=whole(source),
            shared=whole(shared),
        )
        made._check()
        return made

    def __repr__(self) -> str:
        return f"<{self.arrival.size} requests>"

    def _check(self) -> None:
        number = np.arange(self.arrival.size)
        before = np.concatenate(([0.0], self.arrival[:-1]))
        _check("arrival", np.isfinite(self.arrival) & (self.arrival >= before), "must ascend from 0", self.arrival)
        _check("output_tokens", self.output >= 1, "must be at least 1", self.output)
        _check("output_tokens", self.output <= self.longest, "must fit into the longest context", self.output)
        _check("patience", self.patience >= 0, "must be seconds >= 0", self.patience)
        _check("source", (self.source >= NO_SOURCE) & (self.source < number), "must be an earlier request", self.source)
        # What follows somebody's answer can share no token that was never computed: the last one.
        there = np.where(self.source < 0, 0, (self.prompt + self.output)[self.source])
        enough = (self.shared >= 0) & (self.shared <= np.minimum(self.prompt, there))
        _check("shared", enough, "must be at most the tokens of both", self.shared)


def _expected(classes: Sequence[QoEClass], index: Ints, prompt: Ints) -> tuple[Floats, Floats, Floats]:
    """Expected TTFT, pace and deadline (NaN: none) of each request; a class is asked once for each length of prompt."""
    found = np.empty((3, index.size))
    for place, each in enumerate(classes):
        own = np.flatnonzero(index == place)
        lengths, which = np.unique(prompt[own], return_inverse=True)
        if each.expected_prefill_rate is None:
            lengths, which = lengths[:1], np.zeros_like(which)
        asked = [each.expectation(int(tokens)) for tokens in lengths]
        numbers = [(e.expected_ttft, e.pace, math.nan if e.deadline is None else e.deadline) for e in asked]
        found[:, own] = np.array(numbers, dtype=np.float64).reshape(-1, 3).T[:, which]
    return found[0].copy(), found[1].copy(), found[2].copy()


def _check(field: str, right: np.ndarray, must: str, values: np.ndarray) -> None:
    if not right.all():
        first = int(np.argmin(right))
        raise ValueError(f"{field}[{first}] {must}, got {values[first]}")
