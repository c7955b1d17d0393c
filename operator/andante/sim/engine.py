"""Defines what a simulated replica is: its resources, its step time, and vLLM's settings."""

from __future__ import annotations

from typing import NamedTuple, Self

from andante.domain.step_time import Profile, StepTimeCoefficients

MICROSECOND = 1e-6


class StepTime(NamedTuple):
    """`StepTimeCoefficients` for compiled code, in microseconds."""

    fixed_us: float
    prefill_step_us: float
    weight_floor_us: float
    token_us: float
    pair_us: float
    decode_seq_us: float
    context_token_us: float

    @classmethod
    def of(cls, coefficients: StepTimeCoefficients) -> Self:
        return cls(*(float(getattr(coefficients, name)) for name in cls._fields))


class Engine(NamedTuple):
    """One replica. A tuple, because compiled code takes tuples."""

    blocks: int
    """KV blocks that requests may use; vLLM's one reserved block is not among them."""
    block_size: int
    max_seqs: int
    max_step_tokens: int
    long_prefill: int
    """vLLM's `--long-prefill-token-threshold`: most tokens of a request in a step, unless it is alone; 0: no limit."""
    watermark_blocks: int
    """Free blocks that vLLM's own admissions leave."""
    prefix_caching: bool
    by_priority: bool
    """vLLM's `--scheduling-policy priority`; else first come, first served."""
    step_time: StepTime
    steps_in_flight: int = 1
    """Steps that are chosen before the first of them ends: 1, or 2 with vLLM's async scheduling."""
    reserve_whole: bool = True
    """vLLM's `scheduler_reserve_full_isl`: a request starts only where all its known tokens have room, else where its
    first chunk has room, as in vLLM 0.11."""
    hand_over: float = 0.0
    """Seconds from a request's arrival until the engine can see it: the API server and the way to the engine."""
    output_path: float = 0.0
    """Seconds from the end of a step until its tokens are delivered: the way back."""
    host_blocks: int = 0
    """KV blocks that the host's memory holds; 0: there is none, and a preempted request is computed again."""
    host_copy: float = 0.0
    """Seconds that the copy of one block takes, in either direction."""
    host_lru: bool = False
    """Whether the host gives up what was used longest ago, as vLLM does; else what no request needs."""

    @classmethod
    def of(
        cls,
        profile: Profile,
        *,
        watermark: float = 0.0,
        long_prefill: int = 0,
        prefix_caching: bool = True,
        by_priority: bool = False,
        steps_in_flight: int = 1,
        reserve_whole: bool = True,
        host_bytes: float = 0.0,
        host_link: float = 0.0,
        host_lru: bool = False,
    ) -> Self:
        """A replica of `profile`. `watermark`: vLLM's `--watermark`, a share of all KV blocks, in [0, 1).

        `host_bytes`: host memory for KV; `host_link`: bytes/s between it and the replica's GPUs, in each direction;
        `host_lru`: vLLM's own eviction order. Raises ValueError naming the argument that is out of its range.
        """
        if long_prefill < 0:
            raise ValueError(f"long_prefill must be tokens >= 0, got {long_prefill}")
        if not 0 <= watermark < 1:
            raise ValueError(f"watermark must be in [0, 1), got {watermark}")
        if steps_in_flight not in (1, 2):
            raise ValueError(f"steps_in_flight must be 1 or 2, got {steps_in_flight}")
        if host_bytes and not (host_link > 0 and prefix_caching and steps_in_flight == 1):
            raise ValueError("host_bytes needs a host_link > 0 bytes/s, prefix_caching, and one step in flight")
        block_bytes = profile.kv_bytes_per_token * profile.block_size
        return cls(
            blocks=profile.kv_capacity_blocks,
            block_size=profile.block_size,
            max_seqs=profile.max_num_seqs,
            max_step_tokens=profile.max_num_batched_tokens,
            long_prefill=long_prefill,
            watermark_blocks=int(watermark * (profile.kv_capacity_blocks + 1)),
            prefix_caching=prefix_caching,
            by_priority=by_priority,
            step_time=StepTime.of(profile.coefficients),
            steps_in_flight=steps_in_flight,
            reserve_whole=reserve_whole,
            hand_over=MICROSECOND * profile.hand_over_us,
            output_path=MICROSECOND * profile.output_path_us,
            host_blocks=int(host_bytes / block_bytes) if host_bytes else 0,
            host_copy=block_bytes / host_link if host_bytes else 0.0,
            host_lru=host_lru,
        )
