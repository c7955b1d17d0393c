"""Defines hypothesis strategies for timelines and expectations."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

paces = st.floats(min_value=0.5, max_value=100.0)
ttfts = st.floats(min_value=0.0, max_value=10.0)
gaps = st.floats(min_value=0.0, max_value=20.0)


def timelines(*, min_size: int = 1, max_size: int = 60) -> st.SearchStrategy[list[float]]:
    """Ascending delivery times in seconds, bursts (equal times) included."""
    steps = st.lists(st.one_of(st.just(0.0), gaps), min_size=min_size, max_size=max_size)
    return steps.map(lambda g: [float(t) for t in np.cumsum(g)])
