"""What the scheduler knows of each request in the engine, in arrays; filled by `andante_vllm.scheduler`.

One row a request, kept until it ends; a row's numbers are updated for a whole batch at once, so that a step of a
thousand sequences costs a few compiled loops and no Python for each request. No vLLM import here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from andante.domain.compiled import Bools, Floats, Ints, Table, compiled
from andante.domain.pace import Expectation
from andante.domain.scheduling.lengths import LengthEstimator
from andante.domain.scheduling.view import (
    CONTEXT,
    DEADLINE,
    DELAY_AREA,
    DELIVERED,
    ELAPSED,
    EXPECTED_TTFT,
    KEPT,
    LAG,
    NUMBERS,
    PREEMPTIONS,
    PREFILLING,
    REMAINING,
    RUNNING,
    SECONDS_PER_TOKEN,
    WEIGHT,
    RequestView,
)

_NOBODY = 0
"""Row 0 belongs to nobody: tokens of requests that are gone are counted there."""
_FIRST_ROWS = 1024
_BATCHED_STEPS = 32
"""Steps of one and the same batch whose deliveries are added up in one go."""
(
    _ARRIVAL, _TTFT, _DEADLINE, _WEIGHT, _PROMPT, _LONGEST, _PREEMPTIONS, _MOST_KEPT, _PERIOD, _DELIVERED, _LAG, _AREA,
    _FIRST_DUE, _NUMBERS,
) = range(14)  # fmt: skip
"""What each row of `RequestTable._numbers` holds, and how many rows there are.

`_MOST_KEPT`: how far KV in the host's memory reaches at most; infinite while none of it was lost.
`_FIRST_DUE`: when the first token is due; it follows from arrival and TTFT, but each delivery asks for it.
"""


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
        # By row, as said: 1 / (1 / pace) may be another number, and would not be found among the paces.
        self._pace_of = [0.0]
        self._used = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self._running = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self._class = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._numbers = np.zeros((_NUMBERS, _FIRST_ROWS))
        self._paces: dict[float, int] = {}
        self._batch: Batch | None = None
        self.version = 0
        """Changes when a request enters or leaves."""
        self.layout = 0
        """Changes when rows are moved."""
        # Deliveries of one token each to the same batch, not yet added up.
        self._pending: Batch | None = None
        self._pending_times: list[float] = []

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
        self._pace_of.append(expectation.pace if reads else 0.0)
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
            self.lengths.ended(class_index=int(self._class[row]), tokens=int(self._numbers[_DELIVERED, row]))
        pace = self._pace_of[row]
        if pace > 0:
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
        """What `deliver_one_each` has put off."""
        if not self._pending_times or self._pending is None:
            return
        _deliver_one_each(self._numbers, self._pending.rows, np.array(self._pending_times))
        self._pending_times.clear()

    def deliver(self, batch: Batch, tokens: NDArray[np.int64], now: float) -> None:
        """`tokens` tokens each, handed over at `now`; the recursion of `andante.domain.qoe.QoEState.deliver`."""
        self._add_up()
        _deliver(self._numbers, batch.rows, tokens, now)

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
            self._numbers[_PREEMPTIONS, row] += 1
            self._numbers[_MOST_KEPT, row] = kept
            self._batch = None

    def lost(self, request_id: str, *, kept: int) -> None:
        """The host's memory gave up KV of it; `kept` tokens are left."""
        row = self._rows.get(request_id)
        if row is not None:
            self._numbers[_MOST_KEPT, row] = kept

    def view(self, now: float, *, prefilling: Sequence[str]) -> tuple[RequestView, Ints]:
        """The policy's view of all requests in order of arrival, and their rows. `prefilling`: running, mid-prefill.

        The rows are theirs until `version` changes.
        """
        self._add_up()
        rows = self._used.nonzero()[0]
        remaining = self.lengths.remaining(
            class_index=self._class.take(rows),
            delivered=self._numbers[_DELIVERED].take(rows),
            longest=self._numbers[_LONGEST].take(rows),
        )
        view = RequestView(_viewed(self._numbers, self._running, rows, remaining, now, self._kept_block))
        for request_id in prefilling:
            view.numbers[PREFILLING, rows.searchsorted(self._rows[request_id])] = 1.0
        return view, rows

    def _move_together(self) -> None:
        """Moves the rows in use to the front, of arrays twice as long should they fill more than half of these."""
        self._add_up()
        rows = self._used.nonzero()[0]
        size = self._used.size * (2 if 2 * rows.size > self._used.size else 1)
        self._used, self._running, self._class, numbers = (
            _at_the_front(array, rows, size) for array in (self._used, self._running, self._class, self._numbers)
        )
        self._numbers = numbers
        self._ids = ["", *self.names(rows)]
        self._pace_of = [0.0, *(self._pace_of[row] for row in rows.tolist())]
        self._rows = {request_id: row for row, request_id in enumerate(self._ids) if row != _NOBODY}
        self._batch = self._pending = None
        self.layout += 1


def _at_the_front(array: NDArray[Any], rows: Ints, size: int) -> NDArray[Any]:
    """`array` of `size` rows, with `rows` of it at the front, after nobody's."""
    moved = np.zeros((*array.shape[:-1], size), dtype=array.dtype)
    moved[..., 1 : 1 + rows.size] = array[..., rows]
    return moved


@compiled
def _deliver_one_each(numbers: Table, rows: Ints, times: Floats) -> None:
    """One token for each of `rows` at each of `times`; the recursion of `andante.domain.qoe.QoEState.deliver`."""
    for row in rows:
        due = numbers[_FIRST_DUE, row] + numbers[_DELIVERED, row] * numbers[_PERIOD, row]
        lag = numbers[_LAG, row]
        area = 0.0
        for step, time in enumerate(times):
            lag = max(time - due - step * numbers[_PERIOD, row], lag)
            area += lag
        numbers[_LAG, row] = lag
        numbers[_AREA, row] += area
        numbers[_DELIVERED, row] += times.size


@compiled
def _deliver(numbers: Table, rows: Ints, tokens: Ints, now: float) -> None:
    """`tokens` tokens for each of `rows`, all at once."""
    for i, row in enumerate(rows):
        delivered = numbers[_DELIVERED, row]
        late = now - numbers[_ARRIVAL, row] - numbers[_TTFT, row] - delivered * numbers[_PERIOD, row]
        lag = max(numbers[_LAG, row], late)
        numbers[_LAG, row] = lag
        numbers[_AREA, row] += tokens[i] * lag
        numbers[_DELIVERED, row] = delivered + tokens[i]


@compiled
def _viewed(numbers: Table, running: Bools, rows: Ints, remaining: Floats, now: float, kept_block: int) -> Table:
    """`RequestView.numbers` of `rows`; nobody is in the middle of a prefill."""
    view = np.zeros((NUMBERS, rows.size))
    for i, row in enumerate(rows):
        view[RUNNING, i] = running[row]
        view[ELAPSED, i] = max(now - numbers[_ARRIVAL, row], 0.0)
        view[EXPECTED_TTFT, i] = numbers[_TTFT, row]
        view[SECONDS_PER_TOKEN, i] = numbers[_PERIOD, row]
        view[DEADLINE, i] = numbers[_DEADLINE, row]
        view[WEIGHT, i] = numbers[_WEIGHT, row]
        view[DELIVERED, i] = numbers[_DELIVERED, row]
        view[LAG, i] = numbers[_LAG, row]
        view[DELAY_AREA, i] = numbers[_AREA, row]
        context = numbers[_PROMPT, row] + numbers[_DELIVERED, row]
        view[CONTEXT, i] = context
        # Of a new request nothing is known: what others have left of its prompt shows when it starts.
        if kept_block and (running[row] or numbers[_PREEMPTIONS, row] > 0):
            view[KEPT, i] = min(context // kept_block * kept_block, numbers[_MOST_KEPT, row])
        view[REMAINING, i] = remaining[i]
        view[PREEMPTIONS, i] = numbers[_PREEMPTIONS, row]
    return view
