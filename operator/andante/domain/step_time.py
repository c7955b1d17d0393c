"""Models how long one engine step takes, as a function of the batch.

The virtual GPU sleeps for this time, the simulator advances its clock by it, and the scheduler's fit starts from it.
Profiles come from `andante.profiles`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self


def prefill_pairs(*, tokens: int, offset: int = 0) -> int:
    """Query-key pairs of a prefill chunk of `tokens` tokens, with `offset` tokens of its sequence in the KV cache."""
    return tokens * offset + tokens * (tokens + 1) // 2


def host_step_seconds(sequences: int) -> float:
    """The host's part of a profile's step time, for a batch of `sequences` sequences.

    Scheduling, input preparation and output handling: 126 us per step and 4.4 us per sequence in every shipped profile
    (`andante/profiles/README.md`, table of parts).
    """
    return 1e-6 * (126.0 + 4.4 * sequences)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeCoefficients:
    """Coefficients of one replica's step time, for all its GPUs together; microseconds, finite, >= 0.

    step = fixed + [P>0] prefill_step + max(weight_floor, token (P+S+D)) + pair Q + decode_seq S + context_token C

    with P prefill tokens, Q their query-key pairs, S decoding sequences, D draft tokens and C context tokens of these
    sequences. The maximum is needed: a decode step reads all weights at any S, so its time is flat until P+S passes the
    crossover.
    """

    fixed_us: float
    """Per step, for any batch."""
    prefill_step_us: float
    """Per step with any prefill."""
    weight_floor_us: float
    """Reading the weights once: the least time of the matrix products."""
    token_us: float
    """Matrix products per token, prefill or decode, where compute is the bottleneck."""
    pair_us: float
    """Prefill attention per query-key pair."""
    decode_seq_us: float
    """Per decoding sequence."""
    context_token_us: float
    """Decode attention per token of context."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} must be a finite number of microseconds >= 0, got {value}")

    def step_seconds(
        self,
        *,
        prefill_tokens: float,
        prefill_pairs: float,
        decode_seqs: float,
        context_tokens: float,
        draft_tokens: float = 0.0,
    ) -> float:
        """Seconds that one step takes; 0 for an empty batch.

        `prefill_tokens`: prompt tokens computed in the step (prefix-cache hits excluded, recomputed tokens included).
        `prefill_pairs`: their query-key pairs (see the function `prefill_pairs`); tokens from a cache count in the
        offset. `decode_seqs`: sequences that decode one token. `context_tokens`: sum of the contexts of these
        sequences. `draft_tokens`: draft tokens that these sequences verify; they add only to the matrix products, as a
        context is read once. The time to make the drafts is not included.
        """
        tokens = prefill_tokens + decode_seqs + draft_tokens
        if tokens <= 0:
            return 0.0
        return 1e-6 * (
            self.fixed_us
            + (self.prefill_step_us if prefill_tokens > 0 else 0.0)
            + max(self.weight_floor_us, self.token_us * tokens)
            + self.pair_us * prefill_pairs
            + self.decode_seq_us * decode_seqs
            + self.context_token_us * context_tokens
        )

    def scaled(self, factor: float) -> Self:
        """The same GPU, `factor` times as slow (> 0)."""
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"factor must be a finite number > 0, got {factor}")
        return replace(self, **{f.name: getattr(self, f.name) * factor for f in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Step times, capacity, price and warm-up of one replica, for one (model, GPU, tensor parallelism)."""

    name: str
    model: str
    gpu: str
    tensor_parallel: int
    """GPUs of one replica."""
    coefficients: StepTimeCoefficients
    kv_bytes_per_token: int
    """KV cache bytes of one token over all GPUs of the replica; 0: not known."""
    kv_capacity_tokens: int
    """Tokens that the replica's KV cache holds."""
    block_size: int
    """Tokens per KV block."""
    max_num_seqs: int
    """Most sequences in one step."""
    max_num_batched_tokens: int
    """Most tokens in one step (the chunk of chunked prefill)."""
    price_per_replica_hour: float
    """USD; an assumption that you should override. NaN: not known."""
    warmup_median_seconds: float
    """From process start to ready, with the node and the image already present. NaN: not known."""
    warmup_p95_seconds: float
    hand_over_us: float = 0.0
    """Microseconds from a request's arrival at the server until the engine can see it."""
    output_path_us: float = 0.0
    """Microseconds from the end of a step until the server has its tokens."""
    confidence: str = ""
    """How reliable the numbers are, in words."""
    source: str = ""
    """Source of the numbers."""

    @property
    def kv_capacity_blocks(self) -> int:
        """Whole KV blocks of the replica's cache."""
        return self.kv_capacity_tokens // self.block_size


class LinearStepTime(NamedTuple):
    """A linear step time: base + prefill_token P + sequence S + context_token C. Seconds; all >= 0.

    It is a tuple because compiled code takes tuples. `andante.domain.scheduling.latency` fits it while an engine runs.
    """

    base: float
    prefill_token: float
    sequence: float
    context_token: float

    def seconds(self, *, prefill_tokens: float, sequences: float, context_tokens: float) -> float:
        """Time of one step."""
        return (
            self.base
            + self.prefill_token * prefill_tokens
            + self.sequence * sequences
            + self.context_token * context_tokens
        )

    def with_drafts(self, tokens: int) -> LinearStepTime:
        """The same model with `tokens` draft tokens per decoding sequence; each costs as a prefill token."""
        return self._replace(sequence=self.sequence + tokens * self.prefill_token)

    @classmethod
    def from_profile(cls, coefficients: StepTimeCoefficients) -> LinearStepTime:
        """A linear model of the profile above its crossover, where an engine is short of capacity."""
        return cls(
            base=1e-6 * (coefficients.fixed_us + 0.5 * coefficients.prefill_step_us),
            prefill_token=1e-6 * coefficients.token_us,
            sequence=1e-6 * (coefficients.token_us + coefficients.decode_seq_us),
            context_token=1e-6 * coefficients.context_token_us,
        )


DEFAULT_STEP_TIME = LinearStepTime(base=0.015, prefill_token=6e-5, sequence=7e-5, context_token=5e-8)
"""About an 8B model on one A100: the start of the fit where no profile is known."""
