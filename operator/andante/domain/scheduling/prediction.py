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
    rest = requests.remaining
    drift = interval - requests.seconds_per_token
    base = next_token - requests.expected_ttft - requests.delivered * requests.seconds_per_token
    # Where tokens come faster than they are read, the first lag stays the largest.
    steady = rest * np.maximum(requests.lag, base)
    tokens = requests.delivered + rest
    reading = 0.5 * tokens * (tokens + 1) * requests.seconds_per_token
    with np.errstate(divide="ignore", invalid="ignore"):  # batch requests: τ0 is infinite, replaced below
        falling_behind = drift > 0
        if (falling_behind & (requests.seconds_per_token > 0)).any():
            crossing = np.clip(np.where(falling_behind, np.ceil((requests.lag - base) / drift), 0.0), 0.0, rest)
            late = rest - crossing
            growing = crossing * requests.lag + late * base + 0.5 * drift * late * (crossing + rest - 1)
            steady = np.where(falling_behind, growing, steady)
        area = requests.delay_area + np.maximum(steady, 0.0)
        qoe = reading / (reading + area)
    qoe = np.where(np.isinf(requests.expected_ttft), 1.0, qoe)
    deadlines = ~np.isnan(requests.deadline)
    if deadlines.any():
        met = next_token + (rest - 1) * interval <= requests.deadline
        qoe = np.where(deadlines, met.astype(np.float64), qoe)
    return qoe
