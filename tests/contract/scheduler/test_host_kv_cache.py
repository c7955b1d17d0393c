"""Whose KV vLLM's offloading manager gives up when the host's memory is full, with `EndedFirst` as its policy."""

from __future__ import annotations

import pytest
from vllm.v1.kv_offload.base import LookupResult, OffloadKey, ReqContext, make_offload_key
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager

from andante_vllm.host_kv_cache import EndedFirst, too_small
from andante_vllm.launch import kv_transfer

CHUNK = 16


class Host:
    """vLLM's manager with room for some chunks; requests are named by a letter, their chunks numbered from 0."""

    def __init__(self, chunks: int) -> None:
        settings = kv_transfer(1)["kv_connector_extra_config"]
        self.manager = CPUOffloadingManager(
            chunks,
            cache_policy=settings["eviction_policy"],
            cache_policy_module_path=settings["cache_policy_module_path"],
        )
        policy = self.manager._policy
        assert isinstance(policy, EndedFirst)
        self.policy = policy
        self.contexts: dict[str, ReqContext] = {}

    def key(self, name: str, index: int) -> OffloadKey:
        key = make_offload_key(f"{name}{index}".encode(), 0)
        self.context(name).set_offload_key_position(key, (index + 1) * CHUNK)
        return key

    def context(self, name: str) -> ReqContext:
        return self.contexts.setdefault(name, ReqContext(req_id=name))

    def store(self, name: str, *indices: int, arrives: bool = True) -> bool:
        """Whether there was room, or somebody gave way."""
        keys = [self.key(name, index) for index in indices]
        room = self.manager.prepare_store(keys, self.context(name))
        if room is not None and arrives:
            self.manager.complete_store(room.keys_to_store, self.context(name))
        return room is not None

    def end(self, name: str) -> None:
        self.manager.on_request_finished(self.context(name))

    def held(self, name: str, chunks: int) -> list[int]:
        found = [self.manager.lookup(self.key(name, i), self.context(name)) for i in range(chunks)]
        return [i for i, result in enumerate(found) if result is not LookupResult.MISS]


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
    assert host.policy.kept("a", chunk=CHUNK) == 3 * CHUNK
    host.store("b", 0, 1)
    assert host.policy.take_shortened() == {"a"}
    assert host.policy.kept("a", chunk=CHUNK) == 2 * CHUNK
    host.store("a", 3)  # what was lost between is missing
    assert host.held("a", 4) == [0, 1, 3]
    assert host.policy.kept("a", chunk=CHUNK) == 2 * CHUNK


def test_what_is_stored_again_is_the_requests_own_again() -> None:
    host = Host(2)
    host.store("a", 0, 1)
    host.store("b", 0)
    host.end("b")
    host.store("a", 1)
    assert host.held("b", 1) == []
    assert host.policy.kept("a", chunk=CHUNK) == 2 * CHUNK


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
    assert host.policy.kept("a", chunk=CHUNK) == 0
    host.store("a", 0, 1)
    assert host.policy.kept("a", chunk=CHUNK) == 2 * CHUNK


@pytest.mark.parametrize(("host", "advice"), [(800, "1.9 times as large, or 0"), (1100, ""), (5000, "")])
def test_a_memory_that_hardly_holds_what_runs_is_called_too_small(host: int, advice: str) -> None:
    said = too_small(host, 1000)
    assert said.endswith(advice)
    assert ("scheduler.kvOffloadGiB" in said) == bool(advice)
