"""Whose KV vLLM's offloading manager gives up when the host's memory is full, with `EndedFirst` as its policy."""

from __future__ import annotations

import pytest
from benchmarks.scheduling.virtual_time import block_hasher, build_scheduler
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_offload.base import LookupResult, ReqContext, make_offload_key
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from andante_vllm import host_kv
from andante_vllm.host_kv_cache import too_small
from andante_vllm.virtual_host_link import VirtualHostLink
from contract.scheduler.host_memory import CHUNK, Host


def test_an_ended_request_gives_way_before_one_that_has_been_idle_for_longer() -> None:
    host = Host(4)
    host.store("a", 0, 1)
    host.store("b", 0, 1)
    host.end("b")
    host.store("c", 0, 1)
    assert (host.held("a", 2), host.held("b", 2), host.held("c", 2)) == ([0, 1], [], [0, 1])


def test_of_those_that_go_on_the_longest_idle_gives_way_from_its_end() -> None:
    host = Host(4)
    host.store("a", 0, 1)
    host.store("b", 0)
    host.store("b", 1)
    host.store("c", 0)
    assert (host.held("a", 2), host.held("b", 2)) == ([0], [0, 1])


def test_who_comes_back_is_no_longer_idle() -> None:
    host = Host(4)
    host.store("a", 0, 1)
    host.store("b", 0, 1)
    keys = [host.key("a", 0), host.key("a", 1)]
    host.manager.prepare_load(keys, host.context("a"))
    host.manager.complete_load(keys, host.context("a"))
    host.store("c", 0)
    assert (host.held("a", 2), host.held("b", 2)) == ([0, 1], [0])


@pytest.mark.parametrize("under_way", ["store", "load"])
def test_a_chunk_whose_copy_is_under_way_stays(under_way: str) -> None:
    host = Host(2)
    host.store("a", 0, arrives=under_way != "store")
    if under_way == "load":
        host.manager.prepare_load([host.key("a", 0)], host.context("a"))
    host.store("b", 0)
    assert host.store("c", 0)
    assert (host.held("a", 1), host.held("b", 1)) == ([0], [])


def test_nobody_gives_way_where_that_would_not_make_room() -> None:
    host = Host(2)
    host.store("a", 0)
    host.store("b", 0, arrives=False)
    assert not host.store("c", 0, 1)
    assert host.held("a", 1) == [0]


def test_what_is_left_of_a_request_counts_from_its_start_to_the_first_gap() -> None:
    host = Host(4)
    host.store("a", 0, 1, 2)
    assert host.policy.kept("a") == 3
    assert host.policy.take_changed() == {"a"}
    host.store("b", 0, 1)
    assert host.policy.take_changed() == {"a", "b"}
    assert host.policy.kept("a") == 2
    host.end("b")
    host.store("a", 3)  # what was lost between is missing
    assert host.held("a", 4) == [0, 1, 3]
    assert host.policy.kept("a") == 2


def test_what_is_stored_again_is_the_requests_own_again() -> None:
    host = Host(2)
    host.store("a", 0, 1)
    host.store("b", 0)
    host.end("b")
    host.store("a", 1)
    assert host.held("b", 1) == []
    assert host.policy.kept("a") == 2


def test_the_prefix_of_an_ended_request_outlives_its_end() -> None:
    host = Host(3)
    host.store("a", 0, 1, 2)
    host.end("a")
    host.store("b", 0)
    assert host.held("a", 3) == [0, 1]


def test_an_emptied_cache_holds_nothing_and_takes_new_chunks() -> None:
    host = Host(2)
    host.store("a", 0, 1)
    host.manager.reset_cache()
    assert host.policy.kept("a") == 0
    host.store("a", 0, 1)
    assert host.policy.kept("a") == 2


def test_what_the_host_wholly_lost_is_not_kept_though_vllm_stores_what_comes_after_it() -> None:
    scheduler = build_scheduler(
        Scheduler, kv_blocks=20, block_size=CHUNK, max_num_seqs=4, max_num_batched_tokens=512, offloaded_blocks=8
    )
    host = host_kv.of(scheduler.connector)
    assert host is not None
    link = VirtualHostLink(block_bytes=1, bytes_per_second=1e9)
    now = 0.0

    def step() -> None:
        nonlocal now
        now += 1.0
        batch = scheduler.schedule()
        link.begin(batch.kv_connector_metadata, now)
        ids = list(batch.num_scheduled_tokens)
        output = ModelRunnerOutput(ids, {name: place for place, name in enumerate(ids)}, [[7]] * len(ids))
        output.kv_connector_output = link.arrived(now)
        scheduler.update_from_output(batch, output)

    request = Request(
        request_id="a", prompt_token_ids=[5] * 3 * CHUNK, pooling_params=None, arrival_time=0.0,
        sampling_params=SamplingParams(max_tokens=100, ignore_eos=True), block_hasher=block_hasher(CHUNK),
    )  # fmt: skip
    scheduler.add_request(request)
    host.enters(request)
    for _ in range(4):
        step()
    assert host.kept(request) == 3 * CHUNK
    scheduler.reset_prefix_cache(reset_running_requests=True)  # it is taken off
    manager = scheduler.connector.connector_scheduler.manager
    fillers = [make_offload_key(bytes([i] * 32), 0) for i in range(8)]
    filler = ReqContext(req_id="filler")
    manager.complete_store(manager.prepare_store(fillers, filler).keys_to_store, filler)
    manager.on_request_finished(filler)
    assert host.kept(request) == 0
    for _ in range(2 * CHUNK):
        step()
    later = [make_offload_key(block_hash, 0) for block_hash in request.block_hashes]
    found = [manager.lookup(key, filler) is not LookupResult.MISS for key in later]
    assert found[:3] == [False] * 3  # vLLM goes on behind what it has stored once
    assert any(found)
    assert host.kept(request) == 0


@pytest.mark.parametrize(("host", "advice"), [(800, "1.9 times as large, or 0"), (1100, ""), (5000, "")])
def test_a_memory_that_hardly_holds_what_runs_is_called_too_small(host: int, advice: str) -> None:
    said = too_small(host, 1000)
    assert said.endswith(advice)
    assert ("scheduler.kvOffloadGiB" in said) == bool(advice)
