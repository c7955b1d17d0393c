"""What the scheduler knows of each request in the engine, in arrays; filled by `andante_vllm.scheduler`.

One row a request, kept until it ends; a row's numbers are updated for a whole batch at once, so that a step of a
thousand sequences costs a few compiled loops and no Python for each request. No vLLM import here.
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
"""Row 0 belongs to nobody: tokens of requests that are gone are counted there."""
_FIRST_ROWS = 1024
_NO_ROWS: Ints = np.empty(0, dtype=np.int64)
_BATCHED_STEPS = 32
"""Steps of one and the same batch whose deliveries are added up in one go."""


class Batch(NamedTuple):
    """Rows of requests that are served together."""

    rows: Ints
    layout: int
    """`RequestTable.layout` when the rows were looked up: they are no longer theirs once that has changed."""


class RequestTable:
    """Rows of requests: expectation, delivered tokens, lag and delay area (`andante.domain.qoe`), state.

    Rows are handed out in order of arrival and not used again; when all are, those in use are moved together.
    """

    def __init__(self, *, classes: int) -> None:
        """`classes` is the number of QoE classes; lengths are learned for each."""
        self.lengths = LengthEstimator(classes)
        self._rows: dict[str, int] = {}
        self._ids = [""]
        # By row, as said: 1 / (1 / pace) may be another number, and would not be found among the paces.
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
        """Most demanding pace among all rows, tokens/s; 0 when nobody reads."""
        self._batch: Batch | None = None
        self._context = 0.0
        self.admitted = 0
        """How often a request was admitted, comebacks included."""
        self.version = 0
        """Changes when a request enters or leaves, is hidden or shown."""
        self.layout = 0
        """Changes when rows are moved."""
        # Deliveries of one token each to the same batch, and who ended after them: not yet counted.
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
        """A request entered the engine. `longest`: tokens that it may generate at most."""
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
        """A request left the engine. One that ended itself tells its class's length; one that was `cut` at the most
        tokens that it asked for tells that it would have been longer.
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
        """All that run; the same object while they are the same."""
        if self._batch is None:
            self._settle()
            rows = self._columns.running.nonzero()[0]
            self._batch = Batch(rows=rows, layout=self.layout)
            numbers = self._columns.numbers
            self._context = float(numbers[ROW_PROMPT, rows].sum() + numbers[ROW_DELIVERED, rows].sum())
        return self._batch

    def running_context(self) -> float:
        """Tokens known of all that run, added up: of a prefix that many share, as many times as there are of them."""
        self.running()
        return self._context

    def batch(self, request_ids: Sequence[str]) -> Batch:
        """Those requests; for those that are gone, a row that nobody reads."""
        get = self._rows.get
        rows = np.array([get(request_id, _NOBODY) for request_id in request_ids], dtype=np.int64)
        return Batch(rows=rows, layout=self.layout)

    def names(self, rows: Ints) -> list[str]:
        """Whose rows they are."""
        return [self._ids[row] for row in rows.tolist()]

    def deliver_one_each(self, batch: Batch, now: float) -> None:
        """One token for each of `batch` at `now`; a batch that stays the same is added up later."""
        if batch is not self._pending or self._pending_ends or len(self._pending_times) >= _BATCHED_STEPS:
            self._settle()
            self._pending = batch
        self._pending_times.append(now)
        self._context += batch.rows.size  # exact for who runs; once somebody starts or leaves it is added up anew

    def deliver(self, batch: Batch, counts: Ints, now: float) -> None:
        """To each of `batch` its number of tokens (>= 0), handed over together at `now`."""
        self._settle()
        deliver_together(self._columns, batch.rows, counts, now)
        self._context += int(counts.sum())

    def ended_at(self, request_id: str, known: int) -> None:
        """Its answer ended with so many tokens known, the prompt's included: those of its last step that came after
        were not handed over.
        """
        row = self._rows.get(request_id)
        if row is not None:
            numbers = self._columns.numbers
            numbers[ROW_DELIVERED, row] = min(numbers[ROW_DELIVERED, row], max(known - numbers[ROW_PROMPT, row], 0.0))

    def _settle(self) -> None:
        """Counts what has been put off."""
        if self._pending_times or self._pending_ends:
            settle(self._columns, self._take_unsettled(), self.lengths.histograms)

    def _take_unsettled(self) -> Unsettled:
        """What has been put off; whoever takes it counts it."""
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
        """It was admitted."""
        row = self._rows.get(request_id)
        if row is not None:
            self.admitted += not self._columns.running[row]
            self._columns.hidden[row] = False
            self._columns.running[row] = True
            self._batch = None

    def preempted(self, request_id: str, *, kept: int = 0) -> None:
        """It was taken off and waits again. `kept`: tokens of it whose KV the host's memory holds."""
        row = self._rows.get(request_id)
        if row is not None:
            self._columns.running[row] = False
            self._columns.numbers[ROW_PREEMPTIONS, row] += 1
            self._columns.numbers[ROW_ON_HOST, row] = kept
            self._batch = None

    def on_host(self, request_id: str, *, kept: int) -> None:
        """The host's memory now holds KV of `kept` of its tokens, from the first on."""
        row = self._rows.get(request_id)
        if row is not None:
            self._columns.numbers[ROW_ON_HOST, row] = kept

    def show(self, request_id: str, shown: bool) -> None:
        """Whether the policy sees it: not while the engine could not schedule it."""
        row = self._rows.get(request_id)
        if row is not None and self._columns.hidden[row] == shown:
            self._columns.hidden[row] = not shown
            self.version += 1

    def reuse(self, request_id: str, *, cached: int, shared: int) -> None:
        """Of its tokens so many are in the prefix cache, and so many in blocks that others hold as well."""
        row = self._rows.get(request_id)
        if row is not None:
            self._columns.numbers[ROW_CACHED, row], self._columns.numbers[ROW_SHARED, row] = cached, shared

    def view(self, now: float, *, prefilling: Sequence[str]) -> tuple[RequestView, Ints]:
        """The policy's view of all requests that are shown, in order of arrival, and their rows.

        `prefilling`: running, mid-prefill.
        The rows are theirs until `version` changes.
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
        """Moves the rows in use to the front, of arrays twice as long should they fill more than half of these."""
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
    """`array` of `size` rows, with `rows` of it at the front, after nobody's."""
    moved = np.zeros((*array.shape[:-1], size), dtype=array.dtype)
    moved[..., 1 : 1 + rows.size] = array[..., rows]
    return moved
