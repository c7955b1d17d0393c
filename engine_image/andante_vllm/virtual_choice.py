"""Chooses the virtual GPU's token under a grammar, and its log probabilities.

Under a grammar (structured output) each step has a mask of allowed tokens, and another token would end the request with
an error. The device then chooses, in this order: a stop token, a token that closes a text, an object or a list, the
script's token, any other. The chosen token has probability 1. No vLLM import.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

CLOSING: Final = ('"', "}", "]")
"""Tokens that end a part of a JSON document. The quote is first: within a text the others are ordinary letters."""
_CERTAIN: Final = 0.0
_IMPOSSIBLE: Final = -9999.0
"""vLLM's value for minus infinity, which JSON cannot express."""

Mask = npt.NDArray[np.int32]


def allowed_token(wanted: int, mask: Mask, *, stop: Collection[int], closing: Sequence[int]) -> int:
    """The token to use instead of `wanted`. `mask` has one bit for each token of the vocabulary, 32 in a number."""
    bits = mask.view(np.uint32)
    for token in (*sorted(stop), *closing, wanted):
        if 0 <= token < 32 * len(bits) and int(bits[token >> 5]) >> (token & 31) & 1:
            return token
    (words,) = np.nonzero(bits)
    if not len(words):
        return wanted  # no token is allowed; vLLM reports this to the client
    word = int(words[0])
    lowest = int(bits[word])
    return 32 * word + (lowest & -lowest).bit_length() - 1


def logprob_rows(said: Sequence[int | None], wanted: Sequence[Collection[int] | int | None]) -> Any:
    """(token ids, log probabilities, ranks) with a row for each request of a batch; None where no request asks for any.

    `said`: each request's token, if any. `wanted`: how many of the likeliest tokens the request asks for, or which. The
    first column is the chosen token.
    """
    width = max(
        (number if isinstance(number, int) else len(number) for number in wanted if number is not None), default=-1
    )
    if width < 0:
        return None
    ids = np.zeros((len(said), width + 1), dtype=np.int32)
    values = np.full((len(said), width + 1), _IMPOSSIBLE, dtype=np.float32)
    for row, (token, ask) in enumerate(zip(said, wanted, strict=True)):
        if token is None or ask is None:
            continue
        if isinstance(ask, int):
            others = [other for other in range(width + 1) if other != token]
            columns = [token, token, *others][: width + 1]
        else:
            columns = [token, *ask]
        ids[row, : len(columns)] = columns
        values[row, : len(columns)] = [_CERTAIN if column == token else _IMPOSSIBLE for column in columns]
    return ids, values, np.ones(len(said), dtype=np.int32)
