"""The steps that a profile is fitted to: prompts of all lengths, decode batches of all sizes, and both at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from andante.domain.step_time import prefill_pairs

PREFILL_TOKENS: Final = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
OFFSETS: Final = (0, 1024, 4096)
DECODE_SEQS: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CONTEXTS: Final = (128, 512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Step:
    """What one step computes: a chunk of one prompt, and a token for each of some sequences of one length."""

    prefill_tokens: int = 0
    """Tokens of the chunk; 0: no prefill."""
    offset: int = 0
    """Tokens of its sequence that are in the KV cache before."""
    decode_seqs: int = 0
    """Sequences that decode one token."""
    context: int = 0
    """Tokens of context of each of them."""

    @property
    def tokens(self) -> int:
        """Tokens that the matrix products see."""
        return self.prefill_tokens + self.decode_seqs

    @property
    def sequences(self) -> int:
        """Sequences in the batch."""
        return self.decode_seqs + (self.prefill_tokens > 0)

    @property
    def pairs(self) -> int:
        """Query-key pairs of the chunk."""
        return prefill_pairs(tokens=self.prefill_tokens, offset=self.offset)

    @property
    def context_tokens(self) -> int:
        """Tokens of context of all decoding sequences together."""
        return self.decode_seqs * self.context

    @property
    def kv_tokens(self) -> int:
        """Tokens that the KV cache holds during the step."""
        return self.prefill_tokens + self.offset + self.context_tokens


def grid(*, kv_capacity_tokens: int, max_num_seqs: int, max_num_batched_tokens: int) -> tuple[Step, ...]:
    """The steps of the grid that an engine with these limits can take; those of the shipped profiles' fit."""
    steps = (
        Step(prefill_tokens=chunk, offset=offset, decode_seqs=sequences, context=context)
        for chunk in PREFILL_TOKENS
        for offset in (OFFSETS if chunk else (0,))
        for sequences in DECODE_SEQS
        for context in (CONTEXTS if sequences else (0,))
    )
    return tuple(
        step
        for step in steps
        if 0 < step.tokens <= max_num_batched_tokens
        and step.sequences <= max_num_seqs
        and step.kv_tokens <= kv_capacity_tokens
    )
