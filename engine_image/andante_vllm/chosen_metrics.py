"""The series whose names a query gives, as Prometheus' own `name[]` asks for them; vLLM's page does not know it.

Who reads many engines every few seconds wants a few kilobytes of a hundred. No vLLM import.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

_HELP: Final = re.compile(rb"^# HELP .*\n", re.MULTILINE)


def chosen_names(query: bytes) -> frozenset[str]:
    """The names of the series that are wanted; none: all of them are."""
    if b"name" not in query:
        return frozenset()
    return frozenset(parse_qs(query.decode("latin-1")).get("name[]", ()))


def chosen_metrics(folder: Path, names: Collection[str]) -> bytes:
    """Prometheus text of those series, from the files that the processes of this engine write into `folder`.

    Without the explanations: they are a quarter of the text, and who asks for names knows the metrics.
    """
    return _HELP.sub(b"", generate_latest(_Chosen(folder, names)))


async def send_text(send: Any, text: bytes) -> None:
    """Answer an HTTP request of ASGI's with that text."""
    headers = [(b"content-type", CONTENT_TYPE_LATEST.encode()), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


class _Chosen:
    """What a registry would collect. The client library's own restriction knows no collector of files."""

    def __init__(self, folder: Path, names: Collection[str]) -> None:
        self._folder, self._names = folder, names

    def collect(self) -> Iterator[Any]:
        for metric in MultiProcessCollector(None, str(self._folder)).collect():  # type: ignore[no-untyped-call]
            metric.samples = [sample for sample in metric.samples if sample.name in self._names]
            if metric.samples:
                yield metric
