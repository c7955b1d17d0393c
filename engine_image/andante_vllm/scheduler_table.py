"""What the scheduler knows of each request in the engine, in arrays; filled by `andante_vllm.scheduler`.

One row a request, kept until it ends; a row's numbers are updated for a whole batch at once, so that a step of a
thousand sequences costs a few array operations and no loop over requests. No vLLM import here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andante.domain.pace import Expectation
from andante.domain.scheduling.lengths import LengthEstimator
from andante.domain.scheduling.view import Floats, Ints, RequestView

_NOBODY = 0
"""Row 0 belongs to nobody: tokens of requests that are gone are counted there."""
_FIRST_ROWS = 1024
_BATCHED_STEPS = 32
"""Steps of one and the same batch whose deliveries are added up in one go."""
_VIEWED = slice(0, 12)
_DELIVERING = slice(8, 13)
"""Neighbouring rows of `RequestTable._numbers`: one call gathers all that a view, or a delivery, needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of requests that are served together."""

    rows: Ints
    layout: int
    """`RequestTable.layout` when the rows were looked up: they are no longer theirs once that has changed."""


class RequestTable:
    """Rows of requests: expectation, delivered tokens, lag and delay area (`andante.domain.qoe`), state.

    Rows are handed out in order of arrival and not used again; when all are, those in use are moved together.
    """

    def __init__(self, *, classes: int, kept_block: int = 0) -> None:
        """`classes` is the number of QoE classes; lengths are learned for each.

        `kept_block`: tokens of a block of KV, where the host's memory keeps full blocks; 0 where it does not.
        """
        self._kept_block = kept_block
        self.lengths = LengthEstimator(classes)
        self._rows: dict[str, int] = {}
        self._ids = [""]
        self._used = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self._running = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self._class = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._lay_out(np.zeros((13, _FIRST_ROWS)))
        self._paces: dict[float, int] = {}
        self._batch: Batch | None = None
        self.version = 0
        """Changes when a request enters or leaves."""
        self.layout = 0
        """Changes when rows are moved."""
        # Deliveries of one token each to the same batch, not yet added up.
        self._pending: Batch | None = None
        self._pending_times: list[float] = []

    def _lay_out(self, numbers: Floats) -> None:
        """`numbers`: one array for each number known of a request, of shape (numbers, rows).

        `_most_kept`: how far KV in the host's memory reaches at most; infinite while none of it was lost.
        When the first token is due follows from arrival and TTFT; it is kept, as each delivery asks for it.
        """
        self._numbers = numbers
        (
            self._arrival, self._ttft, self._deadline, self._weight, self._prompt, self._longest, self._preemptions,
            self._most_kept, self._period, self._delivered, self._lag, self._area, self._first_due,
        ) = numbers  # fmt: skip

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._rows

    @property
    def tightest_pace(self) -> float:
        """Most demanding pace among all rows, tokens/s; 0 when nobody reads."""
        return max(self._paces, default=0.0)

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
        if len(self._ids) == self._used.size:
            self._move_together()
        self.version += 1
        row = len(self._ids)
        self._rows[request_id] = row
        self._ids.append(request_id)
        reads = expectation.pace > 0 and expectation.deadline is None
        ttft = expectation.expected_ttft if reads else math.inf
        self._used[row] = True
        self._class[row] = class_index
        self._numbers[:, row] = (
            arrival, ttft, math.nan if expectation.deadline is None else expectation.deadline, weight, prompt_tokens,
            longest, 0.0, math.inf, 1 / expectation.pace if reads else 0.0, 0.0, 0.0, 0.0, arrival + ttft,
        )  # fmt: skip
        if reads:
            self._paces[expectation.pace] = self._paces.get(expectation.pace, 0) + 1

    def remove(self, request_id: str, *, ended_itself: bool) -> None:
        """A request left the engine; one that ended itself tells its class's length."""
        row = self._rows.pop(request_id, None)
        if row is None:
            return
        self._add_up()
        self._batch = None
        self.version += 1
        if ended_itself:
            self.lengths.ended(class_index=int(self._class[row]), tokens=int(self._delivered[row]))
        period = float(self._period[row])
        if period > 0:
            pace = next(p for p in self._paces if math.isclose(1 / p, period))
            self._paces[pace] -= 1
            if not self._paces[pace]:
                del self._paces[pace]
        self._used[row] = self._running[row] = False

    def running(self) -> Batch:
        """All that run; the same object while they are the same."""
        if self._batch is None:
            self._batch = Batch(rows=self._running.nonzero()[0], layout=self.layout)
        return self._batch

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
        if batch is not self._pending:
            self._add_up()
            self._pending = batch
        self._pending_times.append(now)
        if len(self._pending_times) >= _BATCHED_STEPS:
            self._add_up()

    def _add_up(self) -> None:
        """`deliver` for all steps of the batch at once, shapes (steps, requests)."""
        if not self._pending_times or self._pending is None:
            return
        rows, steps = self._pending.rows, len(self._pending_times)
        period, delivered, lag, area, first_due = self._numbers[_DELIVERING].take(rows, axis=1)
        due = first_due + delivered * period
        if steps == 1:  # in a contended engine, nearly always
            lag = np.maximum(self._pending_times[0] - due, lag)
            area += lag
        else:
            late = np.asarray(self._pending_times)[:, np.newaxis] - due
            late -= np.arange(steps)[:, np.newaxis] * period
            np.maximum(late[0], lag, out=late[0])
            lags = np.maximum.accumulate(late, axis=0)
            lag = lags[-1]
            area += lags.sum(axis=0)
        self._lag[rows] = lag
        self._area[rows] = area
        self._delivered[rows] = delivered + steps
        self._pending_times.clear()

    def deliver(self, batch: Batch, tokens: NDArray[np.int64], now: float) -> None:
        """`tokens` tokens each, handed over at `now`; the recursion of `andante.domain.qoe.QoEState.deliver`."""
        self._add_up()
        rows = batch.rows
        delivered = self._delivered[rows]
        late = now - self._arrival[rows] - self._ttft[rows] - delivered * self._period[rows]
        lag = np.maximum(self._lag[rows], late)
        self._lag[rows] = lag
        self._area[rows] += tokens * lag
        self._delivered[rows] = delivered + tokens

    def started(self, request_id: str) -> None:
        """It was admitted."""
        row = self._rows.get(request_id)
        if row is not None:
            self._running[row] = True
            self._batch = None

    def preempted(self, request_id: str, *, kept: int = 0) -> None:
        """It was taken off and waits again. `kept`: tokens of it whose KV the host's memory holds."""
        row = self._rows.get(request_id)
        if row is not None:
            self._running[row] = False
            self._preemptions[row] += 1
            self._most_kept[row] = kept
            self._batch = None

    def lost(self, request_id: str, *, kept: int) -> None:
        """The host's memory gave up KV of it; `kept` tokens are left."""
        row = self._rows.get(request_id)
        if row is not None:
            self._most_kept[row] = kept

    def view(self, now: float, *, prefilling: Sequence[str]) -> tuple[RequestView, Ints]:
        """The policy's view of all requests in order of arrival, and their rows. `prefilling`: running, mid-prefill.

        The rows are theirs until `version` changes.
        """
        self._add_up()
        rows = self._used.nonzero()[0]
        (
            arrival, ttft, deadline, weight, prompt, longest, preemptions, most_kept, period, delivered, lag, area,
        ) = self._numbers[_VIEWED].take(rows, axis=1)  # fmt: skip
        remaining = self.lengths.remaining(class_index=self._class.take(rows), delivered=delivered)
        running = self._running.take(rows)
        mid_prefill = np.zeros(rows.size, dtype=np.bool_)
        if prefilling:
            mid_prefill[rows.searchsorted([self._rows[request_id] for request_id in prefilling])] = True
        context = prompt + delivered
        if self._kept_block:
            kept = np.minimum(context // self._kept_block * self._kept_block, most_kept)
            # Of a new request nothing is known: what others have left of its prompt shows when it starts.
            kept[~running & (preemptions == 0)] = 0
        else:
            kept = np.zeros(rows.size)
        view = RequestView(
            running=running,
            elapsed=np.maximum(now - arrival, 0.0),
            expected_ttft=ttft,
            seconds_per_token=period,
            deadline=deadline,
            weight=weight,
            delivered=delivered,
            lag=lag,
            delay_area=area,
            context=context,
            kept=kept,
            remaining=np.maximum(np.minimum(remaining, longest - delivered), 1.0),
            preemptions=preemptions,
            prefilling=mid_prefill,
        )
        return view, rows

    def _move_together(self) -> None:
        """Moves the rows in use to the front, of arrays twice as long should they fill more than half of these."""
        self._add_up()
        rows = self._used.nonzero()[0]
        size = self._used.size * (2 if 2 * rows.size > self._used.size else 1)
        self._used, self._running, self._class, numbers = (
            _at_the_front(array, rows, size) for array in (self._used, self._running, self._class, self._numbers)
        )
        self._lay_out(numbers)
        self._ids = ["", *self.names(rows)]
        self._rows = {request_id: row for row, request_id in enumerate(self._ids) if row != _NOBODY}
        self._batch = self._pending = None
        self.layout += 1


def _at_the_front(array: NDArray[Any], rows: Ints, size: int) -> NDArray[Any]:
    """`array` of `size` rows, with `rows` of it at the front, after nobody's."""
    moved = np.zeros((*array.shape[:-1], size), dtype=array.dtype)
    moved[..., 1 : 1 + rows.size] = array[..., rows]
    return moved
