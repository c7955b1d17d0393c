"""vLLM's offloading manager with `EndedFirst` as its policy, for tests that say who needs what."""

from __future__ import annotations

from vllm.v1.kv_offload.base import LookupResult, OffloadKey, ReqContext, make_offload_key
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager

from andante_vllm.host_kv_cache import EndedFirst
from andante_vllm.launch import kv_transfer

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
