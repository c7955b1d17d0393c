"""Whatever happens in an engine, the host keeps what a simple model says."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from vllm.v1.kv_offload.base import LookupResult, OffloadKey

from contract.scheduler.host_memory import Prefixes

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
