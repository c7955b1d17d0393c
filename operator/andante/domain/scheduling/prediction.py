"""Predicts the QoE at a request's end from the time of its next token, in closed form.

    ideal of the next token   I = τ0 + n/p
    lag of token n+1+k        max(lag_n, t - I + k (Δ - 1/p)),   k = 0 … m-1
    QoE at the end            S_read / (S_read + S_delay),  over n + m tokens

with t the time of the next token, Δ the time between later tokens, m the expected rest. This is the exact area of
`andante.domain.qoe`; Andes' closed forms (v1, section 4) approximate it by a square and without τ0.
"""

from __future__ import annotations

import math

import numpy as np

from andante.domain.compiled import Floats, Table, compiled, part
from andante.domain.scheduling.view import (
    DEADLINE,
    DELAY_AREA,
    DELIVERED,
    EXPECTED_TTFT,
    LAG,
    REMAINING,
    SECONDS_PER_TOKEN,
    RequestView,
)


def final_qoe(requests: RequestView, *, next_token: Floats, interval: float) -> Floats:
    """QoE at the end of each request, shape (requests,); 1 for batch requests.

    `next_token`: seconds from each request's arrival until its next token, shape (requests,). `interval`: seconds
    between later tokens. A request with a deadline has 1 if its expected last token meets the deadline, else 0.
    """
    return _final_qoe(requests.numbers, next_token, interval)


@part
def final_qoe_of(requests: Table, i: int, next_token: float, interval: float) -> float:
    """`final_qoe` of the request in column `i`."""
    rest = requests[REMAINING, i]
    if not math.isnan(requests[DEADLINE, i]):
        return 1.0 if next_token + (rest - 1) * interval <= requests[DEADLINE, i] else 0.0
    if math.isinf(requests[EXPECTED_TTFT, i]):
        return 1.0
    period, lag, delivered = requests[SECONDS_PER_TOKEN, i], requests[LAG, i], requests[DELIVERED, i]
    base = next_token - requests[EXPECTED_TTFT, i] - delivered * period
    if 0 < period < interval:
        drift = interval - period
        crossing = min(max(float(np.ceil((lag - base) / drift)), 0.0), rest)
        late = rest - crossing
        area = max(crossing * lag + late * base + 0.5 * drift * late * (crossing + rest - 1), 0.0)
    else:  # where tokens come faster than they are read, the first lag stays the largest
        area = max(lag, base) * rest
    tokens = delivered + rest
    reading = 0.5 * tokens * (tokens + 1) * period
    qoe: float = reading / (area + requests[DELAY_AREA, i] + reading)
    return qoe


@compiled
def _final_qoe(requests: Table, next_token: Floats, interval: float) -> Floats:
    ends = np.empty_like(next_token)
    for i in range(ends.size):
        ends[i] = final_qoe_of(requests, i, next_token[i], interval)
    return ends
