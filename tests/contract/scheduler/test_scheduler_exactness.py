"""Whatever a policy answers, every stream is exact and every KV block comes back (real scheduler, stand-in runner)."""

from __future__ import annotations

import pytest
from benchmarks.scheduling.fuzz import fuzz

from andante.domain.scheduling.andes_policy import AndesPolicy
from andante.domain.scheduling.qoe_policy import QoEPolicy
from andante.domain.scheduling.qoe_settings import QoEPolicySettings

STEPS = 3_000


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("prefix_caching", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("chunked_prefill", [True, False], ids=["chunked", "whole"])
def test_a_storm_loses_no_token_and_leaks_no_block(depth: int, prefix_caching: bool, chunked_prefill: bool) -> None:
    report = fuzz(steps=STEPS, seed=depth, depth=depth, prefix_caching=prefix_caching, chunked_prefill=chunked_prefill)
    assert report.preemptions > 100
    assert report.aborted > 0


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("prefix_caching", [True, False], ids=["cached", "uncached"])
def test_kv_that_comes_back_from_the_host_is_as_exact(depth: int, prefix_caching: bool) -> None:
    report = fuzz(steps=STEPS, seed=depth, depth=depth, prefix_caching=prefix_caching, kv_offload=True)
    assert report.loads > 100
    assert report.aborted > 0


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("kv_offload", [False, True], ids=["recomputed", "from the host"])
@pytest.mark.parametrize("policy", [None, QoEPolicy])
def test_a_model_with_two_kinds_of_attention_is_served_as_exactly(
    policy: type[QoEPolicy] | None, kv_offload: bool, depth: int
) -> None:
    report = fuzz(
        steps=STEPS, seed=depth, depth=depth, kv_offload=kv_offload, hybrid=True, policy=policy() if policy else None
    )
    assert report.ended > 50


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("prefix_caching", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("policy", [QoEPolicy, AndesPolicy])
def test_the_policies_themselves_are_as_exact_and_starve_nobody(
    policy: type[QoEPolicy] | type[AndesPolicy], prefix_caching: bool, depth: int
) -> None:
    report = fuzz(steps=STEPS, seed=11, depth=depth, prefix_caching=prefix_caching, policy=policy())
    assert report.ended > 50


@pytest.mark.parametrize("depth", [1, 2], ids=["sync", "async"])
@pytest.mark.parametrize("policy", [None, QoEPolicy, AndesPolicy], ids=["storm", "qoe", "andes"])
@pytest.mark.parametrize("kv_offload", [False, True], ids=["recompute", "host"])
def test_draft_tokens_lose_nothing_and_are_nobodys_tokens_until_they_hold(
    policy: type[QoEPolicy] | type[AndesPolicy] | None, kv_offload: bool, depth: int
) -> None:
    report = fuzz(
        steps=STEPS, seed=7, depth=depth, kv_offload=kv_offload, speculative=True, policy=policy() if policy else None
    )
    assert report.ended > 50
    assert report.tokens > 2 * report.steps


def test_a_running_request_without_blocks_keeps_its_adapters_slot() -> None:
    """A request came back from the host with another adapter, in a step in which no running request got a token."""
    policy = QoEPolicy(QoEPolicySettings(kv_offload=True))
    report = fuzz(steps=1_562, seed=151, kv_offload=True, speculative=True, hybrid=True, policy=policy)
    assert report.loads > 0
