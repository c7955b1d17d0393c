"""Asks a Prometheus what held in the past. Every failure is one sentence about the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

from andante.cli.errors import InputError

Labels = Mapping[str, str]
_SECONDS = aiohttp.ClientTimeout(total=120)


class PrometheusHistory:
    """A Prometheus, or what answers like one; use as an asynchronous context."""

    def __init__(self, url: str, *, headers: Mapping[str, str]) -> None:
        self._url = url.rstrip("/")
        self._session = aiohttp.ClientSession(timeout=_SECONDS, headers=dict(headers), trust_env=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def value(self, expression: str, *, at: float) -> float | None:
        """The one value of `expression` at a time; None where it has none."""
        found = await self._ask("query", {"query": expression, "time": f"{at:.3f}"})
        return float(found[0]["value"][1]) if found else None

    async def held(self, expression: str, *, start: float, end: float, step: float) -> list[tuple[Labels, list[float]]]:
        """Each series of `expression` with the times at which it had a value, asked each `step` seconds."""
        asked = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        found = await self._ask("query_range", asked)
        return [(row["metric"], [float(at) for at, _ in row["values"]]) for row in found]

    async def _ask(self, what: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        try:
            # POST, as an expression may be longer than a URL may be.
            async with self._session.post(f"{self._url}/api/v1/{what}", data=asked) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise InputError(f"--replay: {self._url} does not answer: {error or type(error).__name__}") from error
        try:
            answer = json.loads(text)
            if answer["status"] == "success":
                result: list[dict[str, Any]] = answer["data"]["result"]
                return result
            said = str(answer.get("error"))
        except (ValueError, KeyError, TypeError, AttributeError):
            said = text[:200]
        raise InputError(f"--replay: {self._url} answers {reply.status}: {said}")
