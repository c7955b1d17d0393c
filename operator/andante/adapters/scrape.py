"""Reads the engine pods themselves, where no Prometheus is named. Bounded in time, size and number at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import aiohttp

from andante.adapters.exposition import parse
from andante.ports import Clock, PodAddress, PodSample, Unread

MAX_BYTES = 8 * 1024 * 1024
AT_ONCE = 64


class DirectScrape:
    """MetricsSource over HTTP to each pod."""

    def __init__(self, *, clock: Clock, timeout_seconds: float) -> None:
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        """One entry per pod, by (namespace, name)."""
        if not pods:
            return {}
        gate = asyncio.Semaphore(AT_ONCE)
        connector = aiohttp.TCPConnector(limit=AT_ONCE, force_close=True)
        async with aiohttp.ClientSession(timeout=self._timeout, connector=connector, trust_env=False) as session:
            found = await asyncio.gather(*(self._read(session, gate, pod) for pod in pods))
        return {(pod.namespace, pod.name): sample for pod, sample in zip(pods, found, strict=True)}

    async def _read(
        self, session: aiohttp.ClientSession, gate: asyncio.Semaphore, pod: PodAddress
    ) -> PodSample | Unread:
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        url = f"http://{host}:{pod.port}/metrics"
        try:
            async with gate, session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    return Unread(why=f"/metrics answered HTTP {response.status}")
                body = await response.content.read(MAX_BYTES + 1)
                while len(body) <= MAX_BYTES and not response.content.at_eof():
                    body += await response.content.read(MAX_BYTES + 1 - len(body))
        except TimeoutError:
            return Unread(why=f"/metrics did not answer in {self._timeout.total:g} s")
        except aiohttp.ClientError as error:
            return Unread(why=f"/metrics: {error}")
        if len(body) > MAX_BYTES:
            return Unread(why=f"/metrics is larger than {MAX_BYTES} bytes")
        return parse(body.decode("utf-8", "replace"), at=self._clock.now())
