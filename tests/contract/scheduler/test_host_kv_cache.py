"""Whose KV vLLM's offloading manager gives up when the host's memory is full, with `EndedFirst` as its policy."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.scheduling.virtual_time import block_hasher, build_scheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.sampling_params import SamplingParams
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.kv_offload.base import LookupResult, OffloadKey, ReqContext, make_offload_key
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request

from andante_vllm import host_kv
from andante_vllm.host_kv_cache import EndedFirst, too_small
from andante_vllm.launch import kv_transfer
from andante_vllm.virtual_host_link import VirtualHostLink

CHUNK = 16


class Host:
    """vLLM's manager with room for some chunks; requests are named by a letter, their chunks numbered from 0."""

    def __init__(self, chunks: int) -> None:
        config = kv_transfer(1)["kv_connector_extra_config"]
        self.manager = CPUOffloadingManager(
            chunks,
            cache_policy=config["eviction_policy"],
            cache_policy_module_path=config["cache_policy_module_path"],
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


class Prefixes(Host):
    """The same with requests whose chunks have content: a chunk's key names all content up to it."""

    def __init__(self, chunks: int, *, announced: bool = True) -> None:
        super().__init__(chunks)
        self.keys: dict[str, list[OffloadKey]] = {}
        self.announced = announced
        """Whether a request is followed from when it comes, or known by what it stores."""

    def come(self, name: str, content: str) -> None:
        self.keys[name] = []
        self.say(name, content)
        if self.announced:
            self.policy.follow(name, self.keys[name])

    def say(self, name: str, content: str) -> None:
        """It has got longer, by one chunk for each letter."""
        keys = self.keys[name]
        for letter in content:
            before = keys[-1][:-4] if keys else b""
            keys.append(make_offload_key(before + letter.encode(), 0))
            self.context(name).set_offload_key_position(keys[-1], len(keys) * CHUNK)

    def put(self, name: str, begin: int = 0, end: int | None = None, *, arrives: bool = True) -> list[OffloadKey]:
        """Stores its chunks from `begin`; those that were given up for them."""
        room = self.manager.prepare_store(self.keys[name][begin:end], self.context(name))
        if room is not None and arrives:
            self.manager.complete_store(room.keys_to_store, self.context(name))
        return [] if room is None else list(room.evicted_keys)

    def end(self, name: str) -> None:
        super().end(name)
        self.policy.forget(name)
        del self.keys[name], self.contexts[name]

    def found(self, keys: list[OffloadKey]) -> int:
        """Of those, from the first to the first that a lookup misses."""
        context = ReqContext(req_id="who looks")
        missing = (i for i, key in enumerate(keys) if self.manager.lookup(key, context) is LookupResult.MISS)
        return next(missing, len(keys))

    def needed(self) -> dict[OffloadKey, set[str]]:
        """What a lookup would find for requests that have not ended, and for whom."""
        needed: dict[OffloadKey, set[str]] = {}
        for name, keys in self.keys.items():
            if self.announced or name in self.policy._told:
                for key in keys[: self.found(keys)]:
                    needed.setdefault(key, set()).add(name)
        return needed

    def idle(self) -> set[OffloadKey]:
        """Chunks of which no copy is under way."""
        return {key for key, chunk in self.policy._chunks.held.items() if chunk.status.ref_cnt == 0}


@pytest.mark.parametrize("announced", [True, False])
def test_a_prefix_stays_while_anybody_shares_it_though_who_stored_it_has_ended(announced: bool) -> None:
    host = Prefixes(5, announced=announced)
    host.come("first", "SSa")
    host.put("first")
    host.come("second", "SSb")
    host.put("second")
    host.end("first")
    host.come("third", "xyz")
    host.put("third", 0, 1)
    host.put("third", 1, 2)
    assert host.found(host.keys["second"]) == 3
    host.put("third", 2, 3)  # and then the second's own, before what both once had
    assert host.found(host.keys["second"]) == 2


@pytest.mark.parametrize("announced", [True, False])
def test_what_others_stored_of_a_request_is_kept_for_it(announced: bool) -> None:
    host = Prefixes(10, announced=announced)
    host.come("first", "SSSa")
    host.put("first")
    host.come("second", "SSSb")
    assert host.policy.kept("second") == (3 if announced else 0)
    host.put("second", 3)  # vLLM does not store again what the host holds
    assert host.policy.kept("second") == 4
    host.end("first")
    assert host.policy.kept("second") == 4


def test_a_request_that_has_not_started_finds_what_the_host_holds_of_its_prompt() -> None:
    host = Prefixes(3)
    host.come("waits", "ab")
    assert host.policy.kept("waits") == 0
    host.come("runs", "abc")
    host.put("runs")
    assert host.policy.kept("waits") == 2
    assert "waits" in host.policy.take_changed()
    host.end("runs")
    host.come("other", "x")
    host.put("other")
    assert host.policy.kept("waits") == 2  # what nobody needs went


def test_what_comes_behind_a_gap_is_found_once_somebody_has_closed_it() -> None:
    host = Prefixes(4)
    host.come("a", "pqr")
    host.put("a", 0, 1)
    host.put("a", 2)
    assert host.policy.kept("a") == 1
    host.come("b", "pq")
    host.put("b")
    assert host.policy.kept("a") == 3


def test_a_store_that_fails_ends_the_runs_that_it_was_part_of() -> None:
    host = Prefixes(4)
    host.come("a", "pqr")
    host.put("a", arrives=False)
    host.come("b", "pqs")
    assert (host.policy.kept("a"), host.policy.kept("b")) == (3, 2)
    host.manager.complete_store(host.keys["a"][1:2], host.context("a"), success=False)
    assert (host.policy.kept("a"), host.policy.kept("b")) == (1, 1)
    host.manager.complete_store([host.keys["a"][0], host.keys["a"][2]], host.context("a"))
    host.put("b", 1, 2)
    assert (host.policy.kept("a"), host.policy.kept("b")) == (3, 2)


def test_where_the_ends_of_prefixes_may_not_go_what_lies_before_them_does() -> None:
    host = Prefixes(6)
    host.come("a", "pqrst")
    host.put("a", 0, 4)
    host.put("a", 4, arrives=False)
    host.come("b", "xyz")
    assert host.put("b") == [host.keys["a"][3], host.keys["a"][2]]
    assert (host.policy.kept("a"), host.policy.kept("b")) == (2, 3)


def test_an_emptied_cache_forgets_whom_it_is_told_to_forget() -> None:
    host = Prefixes(4)
    host.come("a", "pqr")
    host.put("a")
    host.manager.reset_cache()
    assert host.policy.kept("a") == 0
    host.end("a")  # vLLM says nothing of it: it has stored nothing since
    host.come("b", "pqr")
    host.put("b")
    host.end("b")
    assert host.policy._chunks.unneeded.keys() == host.policy._chunks.held.keys()


NAMES = st.sampled_from("abcde")
CONTENT = st.text("xyz", min_size=1, max_size=5)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), NAMES, CONTENT),
        st.tuples(st.just("say"), NAMES, CONTENT),
        st.tuples(st.just("put"), NAMES, st.integers(0, 6), st.booleans()),
        st.tuples(st.just("arrive"), NAMES, st.booleans()),
        st.tuples(st.just("load"), NAMES),
        st.tuples(st.just("loaded"), NAMES),
        st.tuples(st.just("end"), NAMES),
        st.tuples(st.just("reset"), NAMES),
    ),
    max_size=60,
)


class Events:
    """Does to a host what an engine may do, and looks after each time at what a simple model says."""

    def __init__(self, chunks: int, *, announced: bool) -> None:
        self.host = Prefixes(chunks, announced=announced)
        self.on_their_way: dict[str, list[OffloadKey]] = {}
        self.loading: dict[str, list[OffloadKey]] = {}

    def happens(self, what: str, name: str, *how: Any) -> None:
        present = name in self.host.keys
        if what == "come":
            if not present:
                self.host.come(name, how[0])
        elif what == "reset":
            self.host.manager.reset_cache()
            self.on_their_way.clear()
            self.loading.clear()
        elif present:
            getattr(self, what)(name, *how)
        self.look()

    def say(self, name: str, content: str) -> None:
        self.host.say(name, content)

    def put(self, name: str, begin: int, arrives: bool) -> None:
        host, keys = self.host, self.host.keys[name][begin:]
        if not keys or name in self.on_their_way or name in self.loading:
            return
        needed, idle = host.needed(), host.idle() - set(keys)
        before = {key for key in keys if host.policy.get(key) is not None}
        gone = set(host.put(name, begin, arrives=arrives))
        assert gone <= idle
        if gone & needed.keys():
            assert not (idle - gone) - needed.keys(), "needed chunks went before others"
        for key in gone:  # a prefix goes from its end, but for copies under way
            assert not [other for other in idle - gone if other[:-4].startswith(key[:-4])]
        if not arrives:
            stored = [key for key in keys if key not in before and host.policy.get(key) is not None]
            self.on_their_way[name] = stored

    def arrive(self, name: str, well: bool) -> None:
        keys = self.on_their_way.pop(name, [])
        self.host.manager.complete_store(keys, self.host.context(name), success=well)

    def load(self, name: str) -> None:
        host = self.host
        keys = host.keys[name][: host.found(host.keys[name])]
        ready = all(host.manager.lookup(key, host.context(name)) is LookupResult.HIT for key in keys)
        if keys and ready and name not in self.loading and name not in self.on_their_way:
            host.manager.prepare_load(keys, host.context(name))
            self.loading[name] = keys

    def loaded(self, name: str) -> None:
        self.host.manager.complete_load(self.loading.pop(name, []), self.host.context(name))

    def end(self, name: str) -> None:
        context = self.host.context(name)
        self.host.end(name)
        self.host.manager.complete_store(self.on_their_way.pop(name, []), context)  # copies go on
        self.host.manager.complete_load(self.loading.pop(name, []), context)

    def look(self) -> None:
        host, chunks = self.host, self.host.policy._chunks
        for name, keys in host.keys.items():
            if host.announced or name in host.policy._told:
                assert host.policy.kept(name) == host.found(keys)
        needed = host.needed()
        assert chunks.unneeded.keys() == chunks.held.keys() - needed.keys()
        assert chunks.runs.keys() <= host.keys.keys()
        assert chunks.changed <= host.keys.keys()


@given(st.integers(1, 8), st.booleans(), EVENTS)
@settings(max_examples=300, deadline=None)
def test_what_is_kept_is_what_a_lookup_finds_and_what_is_needed_goes_last(
    chunks: int, announced: bool, events: list[tuple[Any, ...]]
) -> None:
    engine = Events(chunks, announced=announced)
    for what, name, *how in events:
        engine.happens(what, name, *how)
    for name in list(engine.host.keys):
        engine.happens("end", name)
    held = engine.host.policy._chunks
    assert not held.runs
    assert not held._awaited
    assert held.unneeded.keys() == held.held.keys()
    assert len(held.held) == len(engine.host.idle())


@given(st.integers(2, 6), st.lists(st.tuples(NAMES, CONTENT), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_of_those_that_go_on_the_longest_idle_gives_way_whoever_shares_its_prefix(
    chunks: int, serves: list[tuple[str, str]]
) -> None:
    host = Prefixes(chunks)
    used: dict[str, int] = {}
    for time, (name, content) in enumerate(serves):
        if name not in host.keys:
            host.come(name, content[:chunks])
            used[name] = time
        reached = {other: host.found(keys) for other, keys in host.keys.items()}
        if reached[name] < len(host.keys[name]):
            used[name] = time  # vLLM says nothing of a store that finds all there
        before = {key: max(used[other] for other in others) for key, others in host.needed().items()}
        gone = set(host.put(name))
        after = host.needed()
        ends = [key for key in after if not [other for other in after if other != key and other.startswith(key[:-4])]]
        stayed = [before[key] for key in ends if key in before and key not in host.keys[name]]
        assert all(before[key] <= other for key in gone for other in stayed)
        used |= {other: time for other, keys in host.keys.items() if host.found(keys) > reached[other]}


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
