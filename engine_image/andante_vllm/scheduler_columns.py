"""Holds the arrays of the scheduler's table, and the compiled loops that count deliveries and fill views.

No vLLM import here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from andante.domain.compiled import Bools, Floats, Ints, Table, compiled, part, unchecked
from andante.domain.scheduling.lengths import Histograms, expected_rest, learn
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
    SHARED,
    WEIGHT,
)

(
    ROW_ARRIVAL, ROW_TTFT, ROW_DEADLINE, ROW_WEIGHT, ROW_PROMPT, ROW_LONGEST, ROW_PREEMPTIONS, ROW_ON_HOST,
    ROW_PERIOD, ROW_DELIVERED, ROW_LAG, ROW_AREA,
    ROW_FIRST_DUE, ROW_CACHED, ROW_SHARED, ROW_NUMBERS,
) = range(16)  # fmt: skip
"""The content of each row of `Columns.numbers`, and the number of rows.

`ROW_ON_HOST`: how far the request's KV in the host's memory reaches, from the last `RequestTable.on_host`.
`ROW_FIRST_DUE`: when the first token is due; stored, as each delivery needs it (it follows from arrival and TTFT).
`ROW_CACHED`, `ROW_SHARED`: from the last `RequestTable.reuse`.
"""


class Columns(NamedTuple):
    """The data of the request in each row of the table. A tuple, because compiled code takes tuples."""

    used: Bools
    running: Bools
    hidden: Bools
    class_index: Ints
    numbers: Table


class Unsettled(NamedTuple):
    """The events since the last update of the table."""

    served: Ints
    """Rows that got a token at each of `times`."""
    times: Floats
    ended: Ints
    """Rows of requests that ended by themselves since, or were cut."""
    cut: Bools
    """Which of the ended requests were cut."""


@part
def _settled(columns: Columns, unsettled: Unsettled, lengths: Histograms) -> None:
    """Count deliveries first, by the recursion of `andante.domain.qoe.QoEState.deliver`. Then learn ended lengths."""
    numbers, times = columns.numbers, unsettled.times
    for row in unsettled.served[: unsettled.served.size if times.size else 0]:
        due = numbers[ROW_FIRST_DUE, row] + numbers[ROW_DELIVERED, row] * numbers[ROW_PERIOD, row]
        lag = numbers[ROW_LAG, row]
        area = 0.0
        for step, time in enumerate(times):
            lag = max(time - due - step * numbers[ROW_PERIOD, row], lag)
            area += lag
        numbers[ROW_LAG, row] = lag
        numbers[ROW_AREA, row] += area
        numbers[ROW_DELIVERED, row] += times.size
    for place, row in enumerate(unsettled.ended):
        learn(lengths, columns.class_index[row], numbers[ROW_DELIVERED, row], unsettled.cut[place])
        columns.used[row] = columns.running[row] = False


@unchecked
@compiled
def settle(columns: Columns, unsettled: Unsettled, lengths: Histograms) -> None:
    _settled(columns, unsettled, lengths)


@unchecked
@compiled
def deliver_together(columns: Columns, rows: Ints, counts: Ints, time: float) -> None:
    """Count tokens for each of `rows` at `time`, by the recursion of `andante.domain.qoe.QoEState.deliver`."""
    numbers = columns.numbers
    for row, count in zip(rows, counts):  # noqa: B905  compiled code has no `strict`
        if count > 0:
            due = numbers[ROW_FIRST_DUE, row] + numbers[ROW_DELIVERED, row] * numbers[ROW_PERIOD, row]
            lag = max(time - due, numbers[ROW_LAG, row])
            numbers[ROW_LAG, row] = lag
            numbers[ROW_AREA, row] += count * lag
            numbers[ROW_DELIVERED, row] += count


@part
def _copied(numbers: Table, what: int, rows: Ints, view: Table, to: int) -> None:
    for i, row in enumerate(rows):
        view[to, i] = numbers[what, row]


@unchecked
@compiled
def fill_view(
    columns: Columns, unsettled: Unsettled, lengths: Histograms, prefilling: Ints, now: float
) -> tuple[Table, Ints]:
    """The updated `RequestView.numbers` of all shown rows, and these rows."""
    _settled(columns, unsettled, lengths)
    numbers = columns.numbers
    rows = (columns.used & ~columns.hidden).nonzero()[0]
    view = np.empty((NUMBERS, rows.size))
    # One property at a time: then memory is read and written in order, which is most of the cost.
    _copied(numbers, ROW_TTFT, rows, view, EXPECTED_TTFT)
    _copied(numbers, ROW_PERIOD, rows, view, SECONDS_PER_TOKEN)
    _copied(numbers, ROW_DEADLINE, rows, view, DEADLINE)
    _copied(numbers, ROW_WEIGHT, rows, view, WEIGHT)
    _copied(numbers, ROW_DELIVERED, rows, view, DELIVERED)
    _copied(numbers, ROW_LAG, rows, view, LAG)
    _copied(numbers, ROW_AREA, rows, view, DELAY_AREA)
    _copied(numbers, ROW_PREEMPTIONS, rows, view, PREEMPTIONS)
    for i, row in enumerate(rows):
        view[ELAPSED, i] = max(now - numbers[ROW_ARRIVAL, row], 0.0)
    for i, row in enumerate(rows):
        view[CONTEXT, i] = numbers[ROW_PROMPT, row] + view[DELIVERED, i]
    for i, row in enumerate(rows):
        view[REMAINING, i] = expected_rest(
            lengths, columns.class_index[row], view[DELIVERED, i], numbers[ROW_LONGEST, row]
        )
    for i, row in enumerate(rows):
        view[RUNNING, i] = columns.running[row]
    for i, row in enumerate(rows):
        view[SHARED, i] = min(numbers[ROW_SHARED, row], view[CONTEXT, i])
    for i, row in enumerate(rows):
        view[KEPT, i] = min(max(numbers[ROW_CACHED, row], numbers[ROW_ON_HOST, row]), view[CONTEXT, i])
    view[PREFILLING] = 0.0
    for row in prefilling:
        place = np.searchsorted(rows, row)
        if place < rows.size and rows[place] == row:
            view[PREFILLING, place] = 1.0
    return view, rows
