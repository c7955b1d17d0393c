"""What the virtual GPU says where a request leaves it less than every token, and how sure it says it is.

Under a grammar (structured output) the mask of the allowed tokens comes with each step, and a token that it does not
allow would end the request with an error. The device then heads for the end: a stop token, what closes a text, an
object or a list, the token of the script, any other. Of each token that it says, the device is certain. No vLLM import.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

CLOSING: Final = ('"', "}", "]")
"""Tokens that end a part of a JSON document. The text first: within it the others are letters like any other."""
_CERTAIN: Final = 0.0
_IMPOSSIBLE: Final = -9999.0
"""As vLLM writes minus infinity, which JSON cannot."""

Mask = npt.NDArray[np.int32]


def allowed_token(wanted: int, mask: Mask, *, stop: Collection[int], closing: Sequence[int]) -> int:
    """The token to say in place of `wanted`. `mask` has one bit for each token of the vocabulary, 32 in a number."""
    bits = mask.view(np.uint32)
    for token in (*sorted(stop), *closing, wanted):
        if 0 <= token < 32 * len(bits) and int(bits[token >> 5]) >> (token & 31) & 1:
            return token
    (words,) = np.nonzero(bits)
    if not len(words):
        return wanted  # nothing is allowed, which vLLM tells the client
    word = int(words[0])
    lowest = int(bits[word])
    return 32 * word + (lowest & -lowest).bit_length() - 1


def logprob_rows(said: Sequence[int | None], wanted: Sequence[Collection[int] | int | None]) -> Any:
    """(token ids, log probabilities, ranks) with a row for each request of a batch; None where nobody asked for any.

    `said`: each request's token, if it has one. `wanted`: how many of the likeliest tokens it asks for, or which ones.
    The first column is the token that was said.
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
