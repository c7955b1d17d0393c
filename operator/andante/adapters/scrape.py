"""Scrapes the engine pods directly, where no Prometheus URL is set.

The scrape has its own thread and event loop: slow or large answers of tenants' pods must not delay the watches, the
ticks and health. There are limits for the time of each pod and of the whole round, the size of an answer, the number of
pods at once, and the share of each namespace: a namespace of silent pods must not block the others. A pod that fails
repeatedly is asked less often.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import uvloop

from andante.adapters.bounded_get import BoundedGet, GetError
from andante.adapters.exposition import WANTED, sample_of
from andante.adapters.exposition_lines import TextError, WantedLines
from andante.app.text import clip
from andante.ports import Clock, PodAddress, PodSample, Unread

AT_ONCE = 128
"""Pods that are asked at the same time."""
NAMESPACE_AT_ONCE = 32
"""Pods of one namespace that are asked at the same time, where there is more than one namespace."""
FAILURES_BEFORE_BACK_OFF = 3
ROUNDS_LEFT_OUT = 3
"""After this many failures in a row, a pod is left out for this many rounds."""

_PATH = "/metrics?" + "&".join(f"name%5B%5D={name}" for name in sorted(WANTED))
"""Our engines then show only these metrics. A server that does not know the parameter shows the whole page, which the
operator can read too."""

_Key = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class _Failing:
    """A pod that could not be read, by address: a new pod of the same name starts with a count of 0."""

    ip: str
    times: int
    why: str
    left_out: int = 0


class DirectScrape:
    """MetricsSource over HTTP to each pod."""

    def __init__(self, *, clock: Clock, timeout_seconds: float, round_seconds: float) -> None:
        """`timeout_seconds`: for one pod. `round_seconds`: for all pods of a tick."""
        self._clock = clock
        self._timeout_seconds, self._round_seconds = timeout_seconds, round_seconds
        self._failing: dict[_Key, _Failing] = {}
        self._late: frozenset[_Key] = frozenset()
        """Pods that the newest round did not reach."""
        self._thread: _LoopThread | None = None

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """Read all `pods`; one entry per pod, by (namespace, name). Only one round runs at a time."""
        if not pods:
            return {}
        if self._thread is None:
            self._thread = _LoopThread()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._round(pods), self._thread.loop))

    async def _round(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        late = Unread(why=f"not reached within the {self._round_seconds:g} s of a round")
        found: dict[_Key, PodSample | Unread] = {(pod.namespace, pod.name): late for pod in pods}
        queues: dict[str, deque[PodAddress]] = defaultdict(deque)
        # Ask first the pods that the last round did not reach: then each pod has its turn, even if time is short.
        for pod in sorted(pods, key=lambda pod: (pod.namespace, pod.name) not in self._late):
            passed_over = self._passed_over(pod)
            if passed_over is None:
                queues[pod.namespace].append(pod)
            else:
                found[pod.namespace, pod.name] = passed_over
        if queues:
            await self._ask(queues, found)
        self._late = frozenset(key for key, answer in found.items() if answer is late)
        self._failing = {key: failing for key, failing in self._failing.items() if key in found}
        return found

    async def _ask(self, queues: Mapping[str, deque[PodAddress]], found: dict[_Key, PodSample | Unread]) -> None:
        """Put the answer of each pod of `queues` into `found`, until the time of the round is over."""
        cut = Unread(why=f"/metrics did not answer before the {self._round_seconds:g} s of a round were over")
        gate = asyncio.Semaphore(AT_ONCE)
        share = AT_ONCE if len(queues) == 1 else NAMESPACE_AT_ONCE

        async def one_after_another(queue: deque[PodAddress]) -> None:
            while queue:
                pod = queue.popleft()
                async with gate:
                    found[pod.namespace, pod.name] = cut
                    answer = await self._read(pod)
                found[pod.namespace, pod.name] = answer
                self._note(pod, answer)

        workers = [
            asyncio.create_task(one_after_another(queue))
            for queue in queues.values()
            for _ in range(min(share, len(queue)))
        ]
        _, late = await asyncio.wait(workers, timeout=self._round_seconds)
        for worker in late:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _read(self, pod: PodAddress) -> PodSample | Unread:
        lines = WantedLines(WANTED)
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        get = BoundedGet(host=f"{host}:{pod.port}", path=_PATH, take=lines.feed)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.get_running_loop().create_connection(lambda: get, pod.ip, pod.port)
                await get.done
        except TimeoutError:
            return Unread(why=f"/metrics did not answer in {self._timeout_seconds:g} s")
        except TextError as error:
            return Unread(why=str(error))
        except (GetError, OSError) as error:
            return Unread(why=clip(f"/metrics: {error}", 200))
        finally:
            get.abort()
        return sample_of(lines, at=self._clock.now())

    def _passed_over(self, pod: PodAddress) -> Unread | None:
        failing = self._failing.get((pod.namespace, pod.name))
        if failing is None or failing.ip != pod.ip or failing.times < FAILURES_BEFORE_BACK_OFF:
            return None
        if failing.left_out >= ROUNDS_LEFT_OUT:
            return None
        failing.left_out += 1
        return Unread(why=f"not asked in this round, after {failing.times} failures: {failing.why}")

    def _note(self, pod: PodAddress, answer: PodSample | Unread) -> None:
        key = (pod.namespace, pod.name)
        if isinstance(answer, PodSample):
            self._failing.pop(key, None)
            return
        failing = self._failing.get(key)
        if failing is None or failing.ip != pod.ip:
            self._failing[key] = _Failing(ip=pod.ip, times=1, why=answer.why)
        else:
            failing.times, failing.why, failing.left_out = failing.times + 1, answer.why, 0


class _LoopThread:
    """An event loop in its own thread that runs as long as the process."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="scrape", daemon=True).start()
