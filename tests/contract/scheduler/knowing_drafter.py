"""Defines a drafter that knows the answers and is sometimes wrong: most steps give a request several tokens.

vLLM creates it from its path (method `custom_class`), so its knowledge is in this module.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

TEXTS: list[list[int]] = []
"""Prompts with their answers."""
TOKENS: Final = 3
WRONG_EVERY: Final = 7
"""The positions of a text at which its token is wrong."""


class KnowingDrafter:
    """See the module."""

    def __init__(self, vllm_config: Any) -> None:
        self._longest = vllm_config.model_config.max_model_len

    def propose(
        self, sampled_token_ids: list[list[int]], lengths: np.ndarray, tokens: np.ndarray, **_: Any
    ) -> list[list[int]]:
        """Drafts for each row of the batch: `tokens` of shape (rows, positions), of which `lengths` are known."""
        return [
            self._drafts(tokens[row, : lengths[row]].tolist()) if sampled else []
            for row, sampled in enumerate(sampled_token_ids)
        ]

    def load_model(self, *_: Any, **__: Any) -> None:
        """There is none."""

    def _drafts(self, known: list[int]) -> list[int]:
        text = next((text for text in TEXTS if text[: len(known)] == known), [])
        places = range(len(known), min(len(known) + TOKENS, len(text), self._longest - 1))
        return [10 if place % WRONG_EVERY == 0 else text[place] for place in places]
