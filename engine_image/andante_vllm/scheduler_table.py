"""Holds the scheduler's data of each request in the engine, in arrays; `andante_vllm.scheduler` fills them.

Each request has one row until it ends. The numbers of a whole batch are updated at once, so a step of 1,000 sequences
costs a few compiled loops and no Python code per request. No vLLM import here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from andante.domain.compiled import Ints
from andante.domain.pace import Expectation
from andante.domain.scheduling.lengths import LengthEstimator
from andante.domain.scheduling.view import RequestView
from andante_vllm.scheduler_columns import (
    ROW_CACHED,
    ROW_DELIVERED,
    ROW_NUMBERS,
    ROW_ON_HOST,
    ROW_PREEMPTIONS,
    ROW_PROMPT,
    ROW_SHARED,
    Columns,
    Unsettled,
    deliver_together,
    fill_view,
    settle,
)

_NOBODY = 0
"""Row 0 belongs to no request: tokens of requests that are gone are counted there."""
_FIRST_ROWS = 1024
_NO_ROWS: Ints = np.empty(0, dtype=np.int64)
_BATCHED_STEPS = 32
"""Steps of the same batch whose deliveries are counted together."""


class Batch(NamedTuple):
    """Rows of requests that are served together."""

    rows: Ints
    layout: int
    """`RequestTable.layout` when the rows were looked up: after a change of the layout the rows are invalid."""


class RequestTable:
    """Rows of requests: expectation, delivered tokens, lag and delay area (`andante.domain.qoe`), state.

    Rows are assigned in order of arrival and not reused. When all rows are used, the rows in use are moved together.
    """

    def __init__(self, *, classes: int) -> None:
        """`classes`: number of QoE classes; lengths are learned for each."""
        self.lengths = LengthEstimator(classes)
        self._rows: dict[str, int] = {}
        self._ids = [""]
        # The given pace by row: 1 / (1 / pace) may be another number, and would not be found among the paces.
        self._pace_of = [0.0]
        self._columns = Columns(
            used=np.zeros(_FIRST_ROWS, dtype=np.bool_),
            running=np.zeros(_FIRST_ROWS, dtype=np.bool_),
            hidden=np.zeros(_FIRST_ROWS, dtype=np.bool_),
            class_index=np.zeros(_FIRST_ROWS, dtype=np.int64),
            numbers=np.zeros((ROW_NUMBERS, _FIRST_ROWS)),
        )
        self._paces: dict[float, int] = {}
        self.tightest_pace = 0.0
        """Most demanding pace among all rows, tokens/s; 0 without readers."""
        self._batch: Batch | None = None
        self._context = 0.0
        self.admitted = 0
        """Number of admissions, including those after a preemption."""
        self.version = 0
        """Changes when a request enters or leaves, is hidden or shown."""
        self.layout = 0
        """Changes when rows are moved."""
        # Deliveries of one token each to the same batch, and requests that ended after them: not yet counted.
        self._pending: Batch | None = None
        self._pending_times: list[float] = []
        self._pending_ends: list[int] = []
        self._pending_cuts: list[bool] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._rows

    def add(
        self,
        request_id: str,
        *,
        arrival: float,
        expectation: Expectation,
        weight: float,
        class_index: int,
        prompt_tokens: int,
        longest: int,
    ) -> None:
        """Add a request that entered the engine. `longest`: most tokens that it may generate."""
        columns = self._columns
        if len(self._ids) == columns.used.size:
            columns = self._move_together()
        self.version += 1
        row = len(self._ids)
        self._rows[request_id] = row
        self._ids.append(request_id)
        reads = expectation.pace > 0 and expectation.deadline is None
        self._pace_of.append(expectation.pace if reads else 0.0)
        ttft = expectation.expected_ttft if reads else math.inf
        columns.used[row] = True
        columns.hidden[row] = False
        columns.class_index[row] = class_index
        columns.numbers[:, row] = (
            arrival, ttft, math.nan if expectation.deadline is None else expectation.deadline, weight, prompt_tokens,
            longest, 0.0, 0.0, 1 / expectation.pace if reads else 0.0, 0.0, 0.0, 0.0, arrival + ttft, 0.0, 0.0,
        )  # fmt: skip
        if reads:
            self._paces[expectation.pace] = self._paces.get(expectation.pace, 0) + 1
            self.tightest_pace = max(self.tightest_pace, expectation.pace)

    def remove(self, request_id: str, *, ended_itself: bool, cut: bool = False) -> None:
        """Remove a request that left the engine. A request that ended by itself gives a length for its class. A request
        that was `cut` at its `max_tokens` only shows that its answer would have been longer.
        """
        row = self._rows.pop(request_id, None)
        if row is None:
            return
        self._batch = None
        self.version += 1
        pace = self._pace_of[row]
        if pace > 0:
            self._paces[pace] -= 1
            if not self._paces[pace]:
                del self._paces[pace]
                self.tightest_pace = max(self._paces, default=0.0)
        if ended_itself or cut:
            self._pending_ends.append(row)
            self._pending_cuts.append(not ended_itself)
        else:
            self._columns.used[row] = self._columns.running[row] = False

    def running(self) -> Batch:
        """The running requests; the same object while they are the same."""
        if self._batch is None:
            self._settle()
            rows = self._columns.running.nonzero()[0]
            self._batch = Batch(rows=rows, layout=self.layout)
            numbers = self._columns.numbers
            self._context = float(numbers[ROW_PROMPT, rows].sum() + numbers[ROW_DELIVERED, rows].sum())
        return self._batch

    def running_context(self) -> float:
        """Sum of the known tokens of the running requests; a shared prefix counts once for each request."""
        self.running()
        return self._context

    def batch(self, request_ids: Sequence[str]) -> Batch:
        """The batch of these requests; a request that is gone gets row 0."""
        get = self._rows.get
        rows = np.array([get(request_id, _NOBODY) for request_id in request_ids], dtype=np.int64)
        return Batch(rows=rows, layout=self.layout)

    def names(self, rows: Ints) -> list[str]:
        """The ids of the requests in these rows."""
        return [self._ids[row] for row in rows.tolist()]

    def deliver_one_each(self, batch: Batch, now: float) -> None:
        """Count one token for each request of `batch` at `now`; a batch that stays the same is counted later."""
        if batch is not self._pending or self._pending_ends or len(self._pending_times) >= _BATCHED_STEPS:
            self._settle()
            self._pending = batch
        self._pending_times.append(now)
        self._context += batch.rows.size  # exact for running requests; computed again when a request starts or leaves

    def deliver(self, batch: Batch, counts: Ints, now: float) -> None:
        """Count for each request of `batch` its number of tokens (>= 0), delivered together at `now`."""
        self._settle()
        deliver_together(self._columns, batch.rows, counts, now)
        self._context += int(counts.sum())

    def ended_at(self, request_id: str, known: int) -> None:
        """Note that an answer ended with `known` tokens, including the prompt: later tokens of its last step were not
        delivered.
        """
        row = self._rows.get(request_id)
        if row is not None:
            numbers = self._columns.numbers
            numbers[ROW_DELIVERED, row] = min(numbers[ROW_DELIVERED, row], max(known - numbers[ROW_PROMPT, row], 0.0))

    def _settle(self) -> None:
        """Count the postponed deliveries."""
        if self._pending_times or self._pending_ends:
            settle(self._columns, self._take_unsettled(), self.lengths.histograms)

    def _take_unsettled(self) -> Unsettled:
        """Take the postponed deliveries; the caller must count them."""
        served = _NO_ROWS if self._pending is None else self._pending.rows
        unsettled = Unsettled(
            served,
            np.array(self._pending_times),
            np.array(self._pending_ends, dtype=np.int64),
            np.array(self._pending_cuts, dtype=np.bool_),
        )
        self._pending_times.clear()
        self._pending_ends.clear()
        self._pending_cuts.clear()
        return unsettled

    def started(self, request_id: str) -> None:
        """Note that the request was admitted."""
        row = self._rows.get(request_id)
        if row is not None:
            self.admitted += not self._columns.running[row]
            self._columns.hidden[row] = False
            self._columns.running[row] = True
            self._batch = None

    def preempted(self, request_id: str, *, kept: int = 0) -> None:
        """Note that the request was preempted and waits again. `kept`: its tokens whose KV the host's memory holds."""
        row = self._rows.get(request_id)
        if row is not None:
            self._columns.running[row] = False
            self._columns.numbers[ROW_PREEMPTIONS, row] += 1
            self._columns.numbers[ROW_ON_HOST, row] = kept
            self._batch = None

    def on_host(self, request_id: str, *, kept: int) -> None:
        """Note that the host's memory holds the KV of the request's first `kept` tokens."""
        row = self._rows.get(request_id)
        if row is not None:
            self._columns.numbers[ROW_ON_HOST, row] = kept

    def show(self, request_id: str, shown: bool) -> None:
        """Set whether the policy sees the request: not while the engine could not schedule it."""
        row = self._rows.get(request_id)
        if row is not None and self._columns.hidden[row] == shown:
            self._columns.hidden[row] = not shown
            self.version += 1

    def reuse(self, request_id: str, *, cached: int, shared: int) -> None:
        """Set how many of the request's tokens are in the prefix cache, and in blocks that others hold too."""
        row = self._rows.get(request_id)
        if row is not None:
            self._columns.numbers[ROW_CACHED, row], self._columns.numbers[ROW_SHARED, row] = cached, shared

    def view(self, now: float, *, prefilling: Sequence[str]) -> tuple[RequestView, Ints]:
        """The policy's view of all shown requests, in order of arrival, and their rows.

        `prefilling`: running requests within their prefill.
        The rows are valid until `version` changes.
        """
        numbers, rows = fill_view(
            self._columns,
            self._take_unsettled(),
            self.lengths.histograms,
            np.array([self._rows[request_id] for request_id in prefilling], dtype=np.int64),
            now,
        )
        return RequestView(numbers), rows

    def _move_together(self) -> Columns:
        """Move the rows in use to the front; double the arrays if more than half of the rows are in use."""
        self._settle()
        used = self._columns.used
        rows = used.nonzero()[0]
        size = used.size * (2 if 2 * rows.size > used.size else 1)
        self._columns = Columns(*(_at_the_front(array, rows, size) for array in self._columns))
        self._ids = ["", *self.names(rows)]
        self._pace_of = [0.0, *(self._pace_of[row] for row in rows.tolist())]
        self._rows = {request_id: row for row, request_id in enumerate(self._ids) if row != _NOBODY}
        self._batch = self._pending = None
        self.layout += 1
        return self._columns


def _at_the_front(array: NDArray[Any], rows: Ints, size: int) -> NDArray[Any]:
    """`array` with `size` rows: row 0, then `rows`."""
    moved = np.zeros((*array.shape[:-1], size), dtype=array.dtype)
    moved[..., 1 : 1 + rows.size] = array[..., rows]
    return moved
