"""The QoE that a request will end with, if its next token comes then and then: closed form, vectorised.

    ideal of the next token   I = τ0 + n/p
    lag of token n+1+k        max(lag_n, t - I + k (Δ - 1/p)),   k = 0 … m-1
    QoE at the end            S_read / (S_read + S_delay),  over n + m tokens

with t the time of the next token, Δ the time between tokens from then on, m the expected rest. It is the exact area of
`andante.domain.qoe`, which Andes' closed forms (v1, section 4) approximate by a square and without τ0.
"""

from __future__ import annotations

import numpy as np

from andante.domain.scheduling.view import Floats, RequestView


def final_qoe(requests: RequestView, *, next_token: Floats, interval: float) -> Floats:
    """QoE at the end of each request, shape as `next_token`; 1 for batch requests.

    `next_token`: seconds since each was received until its next token, of shape (requests,) or (cases, requests);
    `interval`: seconds between tokens after it.
    A request with a deadline has 1 if its expected last token meets it, else 0.
    """
    rest, period, lag = requests.remaining, requests.seconds_per_token, requests.lag
    base = next_token - requests.expected_ttft
    base -= requests.delivered * period
    tokens = requests.delivered + rest
    reading = 0.5 * tokens * (tokens + 1) * period
    with np.errstate(divide="ignore", invalid="ignore"):  # batch requests: τ0 is infinite, replaced below
        # Where tokens come faster than they are read, the first lag stays the largest.
        area = np.maximum(lag, base)
        area *= rest
        faster = period < interval
        if np.count_nonzero(faster) and np.count_nonzero(faster & (period > 0)):
            drift = interval - period
            crossing = np.clip(np.where(faster, np.ceil((lag - base) / drift), 0.0), 0.0, rest)
            late = rest - crossing
            growing = crossing * lag + late * base + 0.5 * drift * late * (crossing + rest - 1)
            area = np.maximum(np.where(faster, growing, area), 0.0)
        area += requests.delay_area
        area += reading
        qoe: Floats = np.divide(reading, area, out=area)
    unread = np.isinf(requests.expected_ttft)
    if np.count_nonzero(unread):
        qoe = np.where(unread, 1.0, qoe)
    deadlines = ~np.isnan(requests.deadline)
    if np.count_nonzero(deadlines):
        met = next_token + (rest - 1) * interval <= requests.deadline
        qoe = np.where(deadlines, met.astype(np.float64), qoe)
    return qoe
