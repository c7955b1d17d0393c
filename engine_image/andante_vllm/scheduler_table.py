"""What the scheduler knows of each request in the engine, in arrays; filled by `andante_vllm.scheduler`.

One row a request, kept until it ends; a row's arrays are updated for a whole batch at once, so that a step of a
thousand sequences costs a few array operations and no loop over requests. No vLLM import here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Members:
    """The rows in use, in order of arrival, and what never changes of them."""

    ids: list[str]
    rows: Ints
    class_index: Ints
    arrival: Floats
    expected_ttft: Floats
    seconds_per_token: Floats
    deadline: Floats
    weight: Floats
    prompt: Floats
    longest: Floats


class RequestTable:
    """Rows of requests: expectation, delivered tokens, lag and delay area (`andante.domain.qoe`), state."""

    def __init__(self, *, classes: int) -> None:
        """`classes` is the number of QoE classes; lengths are learned for each."""
        self.lengths = LengthEstimator(classes)
        self._rows: dict[str, int] = {}
        self._ids = [""] * _FIRST_ROWS
        self._free = list(range(_FIRST_ROWS - 1, 0, -1))
        self._sequence = 0
        self._used = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self._order = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._running = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self._prefilling = np.zeros(_FIRST_ROWS, dtype=np.bool_)
        self._class = np.zeros(_FIRST_ROWS, dtype=np.int64)
        # One array for each float, all of shape (rows,).
        self._arrival = np.zeros(_FIRST_ROWS)
        self._ttft = np.zeros(_FIRST_ROWS)
        self._period = np.zeros(_FIRST_ROWS)
        self._deadline = np.full(_FIRST_ROWS, np.nan)
        self._weight = np.ones(_FIRST_ROWS)
        self._delivered = np.zeros(_FIRST_ROWS)
        self._lag = np.zeros(_FIRST_ROWS)
        self._area = np.zeros(_FIRST_ROWS)
        self._prompt = np.zeros(_FIRST_ROWS)
        self._longest = np.zeros(_FIRST_ROWS)
        self._preemptions = np.zeros(_FIRST_ROWS)
        self._paces: dict[float, int] = {}
        self._members: _Members | None = None
        self.version = 0
        """Changes when a request enters or leaves."""
        # Deliveries of one token each to the same batch, not yet added up.
        self._batch_ids: Sequence[str] = ()
        self._batch_rows = np.empty(0, dtype=np.int64)
        self._batch_times: list[float] = []

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
        if not self._free:
            self._grow()
        self._members = None
        self.version += 1
        row = self._free.pop()
        self._rows[request_id] = row
        self._ids[row] = request_id
        self._sequence += 1
        reads = expectation.pace > 0 and expectation.deadline is None
        self._used[row] = True
        self._order[row] = self._sequence
        self._running[row] = self._prefilling[row] = False
        self._class[row] = class_index
        self._arrival[row] = arrival
        self._ttft[row] = expectation.expected_ttft if reads else math.inf
        self._period[row] = 1 / expectation.pace if reads else 0.0
        self._deadline[row] = math.nan if expectation.deadline is None else expectation.deadline
        self._weight[row] = weight
        self._delivered[row] = self._lag[row] = self._area[row] = self._preemptions[row] = 0.0
        self._prompt[row] = prompt_tokens
        self._longest[row] = longest
        if reads:
            self._paces[expectation.pace] = self._paces.get(expectation.pace, 0) + 1

    def remove(self, request_id: str, *, ended_itself: bool) -> None:
        """A request left the engine; one that ended itself tells its class's length."""
        if request_id not in self._rows:
            return
        self._add_up()
        self._batch_ids = ()
        self._members = None
        self.version += 1
        row = self._rows.pop(request_id)
        if ended_itself:
            self.lengths.ended(class_index=int(self._class[row]), tokens=int(self._delivered[row]))
        period = float(self._period[row])
        if period > 0:
            pace = next(p for p in self._paces if math.isclose(1 / p, period))
            self._paces[pace] -= 1
            if not self._paces[pace]:
                del self._paces[pace]
        self._used[row] = self._running[row] = False
        self._ids[row] = ""
        self._free.append(row)

    def rows(self, request_ids: Sequence[str]) -> Ints:
        """Rows of requests; of those that are gone, a row that nobody reads."""
        get = self._rows.get
        return np.array([get(request_id, _NOBODY) for request_id in request_ids], dtype=np.int64)

    def deliver_one_each(self, request_ids: Sequence[str], now: float) -> None:
        """One token for each of `request_ids` at `now`; a batch that stays the same is added up later."""
        if request_ids != self._batch_ids:
            self._add_up()
            self._batch_ids, self._batch_rows = request_ids, self.rows(request_ids)
        self._batch_times.append(now)
        if len(self._batch_times) >= _BATCHED_STEPS:
            self._add_up()

    def _add_up(self) -> None:
        """`deliver` for all steps of the batch at once, shapes (steps, requests)."""
        if not self._batch_times:
            return
        rows, steps = self._batch_rows, len(self._batch_times)
        delivered, period = self._delivered[rows], self._period[rows]
        due = self._arrival[rows] + self._ttft[rows] + delivered * period
        if steps == 1:  # in a contended engine, nearly always
            lag = np.maximum(self._batch_times[0] - due, self._lag[rows])
            self._lag[rows] = lag
            self._area[rows] += lag
        else:
            late = np.asarray(self._batch_times)[:, np.newaxis] - due
            late -= np.arange(steps)[:, np.newaxis] * period
            np.maximum(late[0], self._lag[rows], out=late[0])
            lags = np.maximum.accumulate(late, axis=0)
            self._lag[rows] = lags[-1]
            self._area[rows] += lags.sum(axis=0)
        self._delivered[rows] = delivered + steps
        self._batch_times.clear()

    def deliver(self, rows: Ints, tokens: NDArray[np.int64] | int, now: float) -> None:
        """`tokens` tokens each, handed over at `now`; the recursion of `andante.domain.qoe.QoEState.deliver`."""
        self._add_up()
        delivered = self._delivered[rows]
        late = now - self._arrival[rows] - self._ttft[rows] - delivered * self._period[rows]
        lag = np.maximum(self._lag[rows], late)
        self._lag[rows] = lag
        self._area[rows] += tokens * lag
        self._delivered[rows] = delivered + tokens

    def started(self, request_id: str) -> None:
        """It was admitted."""
        self._running[self._rows.get(request_id, _NOBODY)] = True

    def preempted(self, request_id: str) -> None:
        """It was taken off and waits again."""
        row = self._rows.get(request_id, _NOBODY)
        self._running[row] = False
        self._preemptions[row] += 1

    def view(self, now: float, *, prefilling: Sequence[str]) -> tuple[RequestView, list[str]]:
        """The policy's view of all requests in order of arrival, and their ids. `prefilling`: running, mid-prefill."""
        self._add_up()
        members = self._members or self._gather()
        rows = members.rows
        for request_id in prefilling:
            self._prefilling[self._rows.get(request_id, _NOBODY)] = True
        delivered = self._delivered[rows]
        remaining = self.lengths.remaining(class_index=members.class_index, delivered=delivered)
        view = RequestView(
            running=self._running[rows],
            elapsed=np.maximum(now - members.arrival, 0.0),
            expected_ttft=members.expected_ttft,
            seconds_per_token=members.seconds_per_token,
            deadline=members.deadline,
            weight=members.weight,
            delivered=delivered,
            lag=self._lag[rows],
            delay_area=self._area[rows],
            context=members.prompt + delivered,
            remaining=np.maximum(np.minimum(remaining, members.longest - delivered), 1.0),
            preemptions=self._preemptions[rows],
            prefilling=self._prefilling[rows],
        )
        for request_id in prefilling:
            self._prefilling[self._rows.get(request_id, _NOBODY)] = False
        return view, members.ids

    def _gather(self) -> _Members:
        rows = np.flatnonzero(self._used)
        rows = rows[np.argsort(self._order[rows])]
        ids = self._ids
        self._members = _Members(
            ids=[ids[row] for row in rows.tolist()],
            rows=rows,
            class_index=self._class[rows],
            arrival=self._arrival[rows],
            expected_ttft=self._ttft[rows],
            seconds_per_token=self._period[rows],
            deadline=self._deadline[rows],
            weight=self._weight[rows],
            prompt=self._prompt[rows],
            longest=self._longest[rows],
        )
        return self._members

    def _grow(self) -> None:
        old = self._used.size
        for name in (
            "_used", "_order", "_running", "_prefilling", "_class", "_arrival", "_ttft", "_period", "_deadline",
            "_weight", "_delivered", "_lag", "_area", "_prompt", "_longest", "_preemptions",
        ):  # fmt: skip
            array = getattr(self, name)
            setattr(self, name, np.concatenate((array, np.zeros(old, dtype=array.dtype))))
        self._ids.extend([""] * old)
        self._free.extend(range(2 * old - 1, old - 1, -1))
