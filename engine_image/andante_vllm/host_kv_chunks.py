"""Tracks the chunks of KV in host memory as a tree of shared prefixes, and which chunks open requests need.

A chunk's key identifies the chunk's tokens and all tokens before them. So requests that share a chunk share all chunks
before it, and the chunks of all requests form one tree. A lookup for a request finds a *run* in this tree: the chunks
from the request's start to the first missing chunk. A request needs only the chunks of its run: vLLM does not load
chunks after a gap. It is enough to know where each run ends; a chunk is needed while runs end at this chunk or below.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from vllm.v1.kv_offload.base import OffloadKey, get_offload_block_hash, get_offload_group_idx, make_offload_key
from vllm.v1.kv_offload.cpu.policies.base import ChunkStatus

# isort: split
from andante_vllm.prefix_reuse import first_without


class Chunk:
    """A chunk that is held, or that is being copied to the host."""

    __slots__ = ("above", "below", "beside", "count", "ends", "in_line", "key", "place", "status", "used")

    def __init__(self, key: OffloadKey, status: ChunkStatus) -> None:
        self.key, self.status = key, status
        self.above: Chunk | None = None
        """The chunk before this one in its prefix; for another KV cache group, the first group's chunk with the same
        tokens.

        Known when a run has passed over the chunk. Always known for a chunk that is needed.
        """
        self.below = 0
        """Number of held chunks whose `above` is this chunk, including those in `beside`."""
        self.beside: list[Chunk] = []
        """Held chunks of other KV cache groups: needed when this chunk is needed, and useless without it."""
        self.count = 0
        """Number of runs that end here, plus number of needed chunks directly after this one."""
        self.ends: set[Run] = set()
        self.place = 0
        """Number of chunks before this one in its prefix."""
        self.used = 0
        """Tick of the last use: by a run that ends here, by a lookup, or of a chunk after this one that was removed."""
        self.in_line = False
        """Whether the chunk is in the queue of chunks that could be dropped."""


class Run:
    """The held chunks of one request, from its start without a gap."""

    __slots__ = ("awaits", "end", "keys", "length", "request_id", "used")

    def __init__(self, request_id: str, keys: Sequence[OffloadKey]) -> None:
        """`keys` grows with the request."""
        self.request_id, self.keys = request_id, keys
        self.length = 0
        """Number of chunks."""
        self.end: Chunk | None = None
        self.awaits: OffloadKey | None = None
        """The first missing chunk, if its key is known."""
        self.used = 0


class KVChunks:
    """Holds all chunks. Every operation costs O(1) per chunk that it touches, amortised over the chunk's life."""

    def __init__(self) -> None:
        self.first_group = 0
        """The KV cache group whose chunks form the tree."""
        self.held: dict[OffloadKey, Chunk] = {}
        self.runs: dict[str, Run] = {}
        self.unneeded: OrderedDict[OffloadKey, Chunk] = OrderedDict()
        """Chunks that no request needs, the longest unused first; of one prefix, the last chunk first."""
        self.changed: set[str] = set()
        """Requests whose run changed."""
        self._awaited: dict[OffloadKey, set[Run]] = {}
        self._behind: set[Run] = set()
        """Runs that may have become longer."""
        self._line: list[tuple[int, int, Chunk]] = []
        """A heap of needed chunks without chunks below, by last use. Some entries are out of date: the chunk was used
        again, or removed."""
        self._other_groups: set[int] = set()
        self._tick = 0

    # --- requests -----------------------------------------------------------------------------------------------

    def follow(self, request_id: str, keys: Sequence[OffloadKey]) -> Run:
        """Note a new request. `keys`: the keys of its chunks in order; the sequence grows with the request."""
        self.close(request_id)
        run = self.runs[request_id] = Run(request_id, keys)
        self.use(run)
        self.advance(run)
        return run

    def use(self, run: Run) -> None:
        """Note that the run's request was served."""
        run.used = self._next_tick()
        if run.end is not None:
            run.end.used = run.used

    def advance(self, run: Run) -> None:
        """Extend the run by chunks that are held now.

        Chunks that other requests already need are found by bisection: a needed chunk needs all chunks before it.
        """
        before, length, end = run.length, run.length, run.end
        shared = first_without(lambda place: self._needed(run.keys[before + place]), len(run.keys) - before)
        if shared:
            length, end = before + shared, self.held[run.keys[before + shared - 1]]
        while length < len(run.keys) and (chunk := self.held.get(run.keys[length])) is not None:
            if chunk.above is not end:
                chunk.above = end
                if end is not None:
                    end.below += 1
            chunk.place = length
            length, end = length + 1, chunk
        if length != before:
            self._end_at(run, end, length)
        else:
            self._await(run)

    def close(self, request_id: str) -> None:
        """Note that the request ended."""
        run = self.runs.pop(request_id, None)
        if run is not None:
            self._await_nothing(run)
            self._behind.discard(run)
            self.changed.discard(request_id)
            if run.end is not None:
                run.end.ends.discard(run)
                self._need_less(run.end)

    # --- chunks -------------------------------------------------------------------------------------------------

    def insert(self, key: OffloadKey, status: ChunkStatus) -> None:
        """Note that the chunk is being copied to the host."""
        chunk = self.held[key] = Chunk(key, status)
        self.unneeded[key] = chunk
        group = get_offload_group_idx(key)
        if group != self.first_group:
            self._other_groups.add(group)
            first = self.held.get(make_offload_key(get_offload_block_hash(key), self.first_group))
            if first is not None:
                self._put_beside(first, chunk)
            return
        for other in self._other_groups:
            found = self.held.get(make_offload_key(get_offload_block_hash(key), other))
            if found is not None:
                self._put_beside(chunk, found)
        for run in self._awaited.pop(key, ()):
            run.awaits = None
            run.used = self._next_tick()  # vLLM reports only the first time that a request stores a chunk
            self._behind.add(run)

    def catch_up(self) -> None:
        """Extend the runs that waited for inserted chunks. Called once for many chunks of a long prefix."""
        while self._behind:
            self.advance(self._behind.pop())

    def remove(self, key: OffloadKey) -> Chunk:
        """Note that the chunk is not held any more; its runs end before it."""
        chunk = self.held.pop(key)
        for run in self._through(chunk):
            self._end_at(run, chunk.above, chunk.place)
        self.unneeded.pop(key, None)
        above, chunk.above = chunk.above, None
        if above is not None:
            above.below -= 1
            if get_offload_group_idx(key) != self.first_group:
                above.beside.remove(chunk)
            above.used = max(above.used, chunk.used)
            self._line_up(above)
        for other in chunk.beside:
            other.above = None
            self.unneeded[other.key] = other
        return chunk

    def touch(self, key: OffloadKey) -> None:
        """Note that the chunk was used, by any request."""
        chunk = self.held.get(key)
        if chunk is not None:
            chunk.used = self._next_tick()
            if key in self.unneeded:
                self.unneeded.move_to_end(key)

    def clear(self) -> None:
        """Note that no chunk is held any more; the requests continue."""
        self.held.clear()
        self.unneeded.clear()
        self._line.clear()
        self._behind.clear()
        for run in self.runs.values():
            run.end, run.length = None, 0
            self._await(run)
        self.changed.update(self.runs)

    def take_out(self, count: int, protected: set[OffloadKey]) -> list[Chunk]:
        """Remove `count` chunks, none of them `protected` or with a running copy; there must be enough.

        First chunks that no request needs, the longest unused first; then the ends of runs, the longest unused first.
        """
        self.catch_up()
        out: list[Chunk] = []
        for chunk in self.unneeded.values():
            if len(out) == count:
                break
            if _may_go(chunk, protected):
                out.append(chunk)
        for chunk in out:
            self.remove(chunk.key)
        stay: list[Chunk] = []
        while len(out) < count:
            if not self._line:
                out.append(self.remove(next(self._above_what_stays(stay, protected)).key))
                continue
            used, _, chunk = heapq.heappop(self._line)
            chunk.in_line = False
            if not self._could_go(chunk):
                continue
            if _used(chunk) > used:
                self._line_up(chunk)
            elif _may_go(chunk, protected):
                out.append(self.remove(chunk.key))
            else:
                stay.append(chunk)
        for chunk in stay:
            self._line_up(chunk)
        return out

    def _above_what_stays(self, stay: list[Chunk], protected: set[OffloadKey]) -> Iterator[Chunk]:
        """Chunks before chunks that must stay: only these are left when all others are removed."""
        for last in (*self.unneeded.values(), *stay):
            chunk: Chunk | None = last
            while chunk is not None:
                if self.held.get(chunk.key) is chunk and _may_go(chunk, protected):
                    yield chunk
                chunk = chunk.above
        yield from (chunk for chunk in self.held.values() if _may_go(chunk, protected))  # an error here ends the engine

    # --- relations between chunks -------------------------------------------------------------------------------

    def _end_at(self, run: Run, end: Chunk | None, length: int) -> None:
        before, run.end, run.length = run.end, end, length
        if end is not None:
            end.ends.add(run)
            end.used = max(end.used, run.used)
            self._need_more(end)
        if before is not None:
            before.ends.discard(run)
            self._need_less(before)
        self._await(run)
        self.changed.add(run.request_id)

    def _need_more(self, chunk: Chunk | None) -> None:
        while chunk is not None:
            chunk.count += 1
            if chunk.count > 1:
                return
            for other in (chunk, *chunk.beside):
                self.unneeded.pop(other.key, None)
                self._line_up(other)
            chunk = chunk.above

    def _need_less(self, chunk: Chunk | None) -> None:
        while chunk is not None:
            chunk.count -= 1
            if chunk.count:
                return
            for other in (*chunk.beside, chunk):
                self.unneeded[other.key] = other
            chunk = chunk.above

    def _put_beside(self, first: Chunk, other: Chunk) -> None:
        first.beside.append(other)
        first.below += 1
        other.above = first
        if first.count:
            del self.unneeded[other.key]
            self._line_up(other)

    def _through(self, chunk: Chunk) -> list[Run]:
        """The runs that pass through the chunk or end at it."""
        if not chunk.count:
            return []
        if chunk.below == len(chunk.beside):
            return list(chunk.ends)
        place = chunk.place  # rare: only where a later chunk must stay, or the copy failed
        return [run for run in self.runs.values() if run.length > place and run.keys[place] == chunk.key]

    def _line_up(self, chunk: Chunk) -> None:
        if not chunk.in_line and self._could_go(chunk):
            chunk.in_line = True
            heapq.heappush(self._line, (_used(chunk), self._next_tick(), chunk))

    def _needed(self, key: OffloadKey) -> bool:
        chunk = self.held.get(key)
        return chunk is not None and chunk.count > 0

    def _could_go(self, chunk: Chunk) -> bool:
        """Whether the chunk is held and needed, and no later chunk is held."""
        needed = chunk.count or (chunk.above is not None and chunk in chunk.above.beside and chunk.above.count)
        return bool(needed) and not chunk.below and self.held.get(chunk.key) is chunk

    def _await(self, run: Run) -> None:
        key = run.keys[run.length] if run.length < len(run.keys) else None
        if key != run.awaits:
            self._await_nothing(run)
            if key is not None:
                run.awaits = key
                self._awaited.setdefault(key, set()).add(run)

    def _await_nothing(self, run: Run) -> None:
        if run.awaits is not None:
            waiting = self._awaited[run.awaits]
            waiting.discard(run)
            if not waiting:
                del self._awaited[run.awaits]
            run.awaits = None

    def _next_tick(self) -> int:
        self._tick += 1
        return self._tick


def _may_go(chunk: Chunk, protected: set[OffloadKey]) -> bool:
    return chunk.status.ref_cnt == 0 and chunk.key not in protected


def _used(chunk: Chunk) -> int:
    """Last use; for another KV cache group's chunk, the last use of the first group's chunk beside it."""
    if chunk.above is not None and chunk in chunk.above.beside:
        return max(chunk.used, chunk.above.used)
    return chunk.used
