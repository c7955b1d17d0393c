"""Defines faults of engine pods: wrong answers at /metrics, pods that are not ready, deleted pods."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler

from andante.app.children import SERVICE_LABEL
from chaos.faults import Fault, Reach
from chaos.services import Part
from chaos.stage import Stage

HANG_SECONDS = 4.0
"""Longer than the operator's time limit for one pod."""
BOMB_BYTES = 8 * 1024 * 1024
"""Twice the size that the operator reads."""
LIES = (
    'andante_open_requests{model_name="chat",qoe_class="reading"} NaN\n',
    'andante_open_requests{model_name="chat",qoe_class="reading"} +Inf\n',
    'andante_open_requests{qoe_class="a"} 1e308\nandante_open_requests{qoe_class="b"} 1e308\n',
    'andante_open_requests{model_name="chat",qoe_class="reading"} -30\n',
    'andante_open_requests{model_name="chat\n',
    "andante_open_requests 1e999999\n",
    "",
    "\0" * 1000,
)
"""Texts that are no metrics, and values that no engine can have."""


def _begin(handler: BaseHTTPRequestHandler, length: int | None = None, **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if length is not None:
        handler.send_header("Content-Length", str(length))
    handler.end_headers()


def _hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(HANG_SECONDS)


def _drip(handler: BaseHTTPRequestHandler) -> None:
    _begin(handler)
    with suppress(OSError):
        for _ in range(int(HANG_SECONDS * 10)):
            handler.wfile.write(b"#")
            time.sleep(0.1)


def _bomb(handler: BaseHTTPRequestHandler) -> None:
    _begin(handler)
    line = b'andante_bomb{x="' + b"y" * 65_000 + b'"} 1\n'
    with suppress(OSError):
        for _ in range(BOMB_BYTES // len(line)):
            handler.wfile.write(line)


def _many_lines(handler: BaseHTTPRequestHandler) -> None:
    body = b"".join(b'andante_open_requests{qoe_class="%d"} 1\n' % number for number in range(20_000))
    with suppress(OSError):
        _begin(handler, len(body))
        handler.wfile.write(body)


def _squeezed(handler: BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        _begin(handler, 4, Content_Encoding="gzip")
        handler.wfile.write(b"\x1f\x8b\x08\x00")


def _vanish(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def _cut_short(handler: BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        _begin(handler, 1000)
        handler.wfile.write(b"andante_open_requests 3\n")
    handler.close_connection = True


def _answers(status: int, handler: BaseHTTPRequestHandler) -> None:
    with suppress(OSError):
        handler.send_response(status)
        handler.send_header("Location", "http://127.0.0.1:1/")
        handler.send_header("Content-Length", "0")
        handler.end_headers()


def _lie(text: str, handler: BaseHTTPRequestHandler) -> None:
    body = text.encode()
    with suppress(OSError):
        _begin(handler, len(body))
        handler.wfile.write(body)


def _misbehave(
    ways: tuple[Callable[[BaseHTTPRequestHandler], None], ...], stage: Stage, chance: random.Random, seconds: float
) -> None:
    with stage.kubelet.misbehaving(chance.choice(stage.in_part(Part.VICTIM)), chance.choice(ways)):
        time.sleep(seconds)


def _not_ready(stage: Stage, chance: random.Random, seconds: float) -> None:
    with stage.kubelet.unready(chance.choice(stage.in_part(Part.VICTIM))):
        time.sleep(seconds)


def _delete(stage: Stage, chance: random.Random, seconds: float) -> None:
    service = chance.choice(stage.in_part(Part.VICTIM))
    path = f"/api/v1/namespaces/{service.namespace}/pods"
    for pod in stage.api.items(f"{path}?labelSelector={SERVICE_LABEL}%3D{service.name}"):
        stage.api.delete(f"{path}/{pod['metadata']['name']}")


METRICS: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], ...]] = {
    "hang": (_hang,),
    "drip": (_drip,),
    "bomb": (_bomb, _many_lines, _squeezed),
    "vanish": (_vanish, _cut_short),
    "answer 500": (partial(_answers, 500),),
    "redirect": (partial(_answers, 302),),
    "lie": tuple(partial(_lie, text) for text in LIES),
}
FAULTS = (
    *(
        Fault(name=f"metrics {name}", reach=Reach.VICTIM, work=partial(_misbehave, ways), weight=2)
        for name, ways in METRICS.items()
    ),
    Fault(name="pods not ready", reach=Reach.VICTIM, work=_not_ready, weight=2),
    Fault(name="pods deleted", reach=Reach.VICTIM, work=_delete, weight=2),
)
