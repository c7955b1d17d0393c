"""Tells a HorizontalPodAutoscaler how many requests wait, and how many are in flight, at the pods of one Service.

It is the rival's metrics adapter in the demo: the API server's aggregation layer forwards `external.metrics.k8s.io` to
it. It runs as a script in a pod of the operator's image, so it uses the standard library only. It reads the pods itself
when it is asked: so its figures are fresher than those that an adapter finds in Prometheus.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

GROUP, VERSION = "external.metrics.k8s.io", "v1beta1"
WAITING, IN_FLIGHT = "vllm-requests-waiting", "vllm-requests-in-flight"
SUMMED: Mapping[str, Sequence[str]] = {
    WAITING: ("vllm:num_requests_waiting",),
    IN_FLIGHT: ("vllm:num_requests_waiting", "vllm:num_requests_running"),
}
"""The metrics, and the gauges of an engine whose sum each is."""
STALE_SECONDS = 30.0
"""A pod that cannot be read counts with its last figures for this long, as it would with a Prometheus."""
POD_SECONDS = 2.0
"""How long a pod may take to answer."""
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_DECLARED = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) gauge")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})? (\S+)(?: -?\d+)?")


class NotReadableError(Exception):
    """No figure can be given; the message says why."""


def gauges(page: str) -> dict[str, float]:
    """The wanted gauges of an engine's /metrics, each summed over its labels.

    A gauge that the page declares is 0 without a sample: vLLM writes the first one with its first request. Raises
    NotReadableError for a gauge that the page does not have.
    """
    wanted = {name for names in SUMMED.values() for name in names}
    found: dict[str, float] = {}
    for line in page.splitlines():
        declared = _DECLARED.fullmatch(line.strip())
        if declared and declared[1] in wanted:
            found.setdefault(declared[1], 0.0)
        sample = _SAMPLE.fullmatch(line.strip())
        if sample and sample[1] in wanted:
            found[sample[1]] = found.get(sample[1], 0.0) + float(sample[2])
    missing = sorted(wanted - found.keys())
    if missing:
        raise NotReadableError(f"/metrics has no {missing[0]}")
    return found


def ready_addresses(slices: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Address and port of each ready endpoint in a list of EndpointSlices."""
    found = []
    for part in slices.get("items") or []:
        ports = [port["port"] for port in part.get("ports") or [] if port.get("port")]
        for endpoint in part.get("endpoints") or []:
            if ports and (endpoint.get("conditions") or {}).get("ready") is not False:
                found += [(address, ports[0]) for address in endpoint["addresses"]]
    return sorted(set(found))


@dataclass(frozen=True)
class _Read:
    at: float
    figures: Mapping[str, float]


class Fleet:
    """The figures of all ready pods. `addresses` lists them; `page` reads /metrics of one, of the wanted gauges alone
    or whole; `clock` is in seconds."""

    def __init__(
        self,
        *,
        addresses: Callable[[], Sequence[tuple[str, int]]],
        page: Callable[[str, int, bool], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses, self._page, self._clock = addresses, page, clock
        self._known: dict[tuple[str, int], _Read] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=16)

    def total(self, metric: str) -> float:
        """The metric's sum over the ready pods. Raises NotReadableError where it is not known: never 0 for unknown."""
        with self._lock:
            pods = list(self._addresses())
            if not pods:
                raise NotReadableError("no pod is ready")
            read = list(self._pool.map(self._figures, pods))
            self._known = dict(zip(pods, read, strict=True))
        return sum(each.figures[gauge] for each in read for gauge in SUMMED[metric])

    def _figures(self, pod: tuple[str, int]) -> _Read:
        try:
            try:
                return _Read(self._clock(), gauges(self._page(*pod, False)))
            except NotReadableError:  # only the whole page declares a gauge that has no sample yet
                return _Read(self._clock(), gauges(self._page(*pod, True)))
        except (OSError, ValueError, NotReadableError) as error:
            known = self._known.get(pod)
            if known is None or self._clock() - known.at > STALE_SECONDS:
                raise NotReadableError(f"{pod[0]}: {error}") from error
            return known


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: a status and a JSON document."""

    status: int
    document: Mapping[str, Any]


def answer(path: str, *, namespace: str, total: Callable[[str], float], now: Callable[[], datetime]) -> Answer:
    """What the API server gets for a GET of `path`: the discovery of the group, or one metric of `namespace`."""
    parts = urlsplit(path).path.strip("/").split("/")
    if parts == ["healthz"]:
        return Answer(200, {"ok": True})
    if parts == ["apis", GROUP]:
        here = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        group = {"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [here], "preferredVersion": here}
        return Answer(200, group)
    if parts == ["apis", GROUP, VERSION]:
        return Answer(200, _resources(SUMMED))
    if parts[:4] == ["apis", GROUP, VERSION, "namespaces"] and len(parts) == 6:
        metric = parts[5]
        if parts[4] != namespace or metric not in SUMMED:
            return _failure(404, "NotFound", f"there is no metric {metric} in namespace {parts[4]}")
        try:
            value = total(metric)
        except NotReadableError as error:
            return _failure(503, "ServiceUnavailable", str(error))
        item = {
            "metricName": metric,
            "metricLabels": {},
            "timestamp": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": f"{round(1000 * value)}m",
        }
        kind = {"kind": "ExternalMetricValueList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {}}
        return Answer(200, {**kind, "items": [item]})
    return _failure(404, "NotFound", f"there is nothing at {path}")


def _resources(metrics: Iterable[str]) -> dict[str, Any]:
    listed = [
        {"name": name, "singularName": "", "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]}
        for name in metrics
    ]
    head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{GROUP}/{VERSION}"}
    return {**head, "resources": listed}


def _failure(status: int, reason: str, message: str) -> Answer:
    head = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {}}
    return Answer(status, {**head, "reason": reason, "message": message, "code": status})


class _Cluster:
    """Lists the endpoints of a Service, with the pod's own service account."""

    def __init__(self, namespace: str, service: str) -> None:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        selector = quote(f"kubernetes.io/service-name={service}")
        server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        self._url = f"{server}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={selector}"
        tls = ssl.create_default_context(cafile=str(_ACCOUNT / "ca.crt"))
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )

    def addresses(self) -> list[tuple[str, int]]:
        token = (_ACCOUNT / "token").read_text()  # it is renewed from time to time
        request = urllib.request.Request(self._url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
        try:
            with self._opener.open(request, timeout=5) as reply:
                return ready_addresses(json.load(reply))
        except (OSError, ValueError) as error:
            raise NotReadableError(f"the endpoints cannot be listed: {error}") from error


def _page(host: str, port: int, whole: bool) -> str:
    names = "" if whole else "?" + "&".join(f"name%5B%5D={quote(name)}" for name in sorted(SUMMED[IN_FLIGHT]))
    where = f"[{host}]" if ":" in host else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{where}:{port}/metrics{names}", timeout=POD_SECONDS) as reply:
        return str(reply.read().decode("utf-8", "replace"))


def _handler(namespace: str, fleet: Fleet) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told = answer(self.path, namespace=namespace, total=fleet.total, now=lambda: datetime.now(UTC))
            body = json.dumps(told.document).encode()
            self.send_response(told.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  named by http.server
            """Log nothing: a controller asks every few seconds."""

    return Handler


def main() -> int:
    """Serve until the pod ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--service", required=True, help="its ready pods are read")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", type=Path, required=True, help="folder with tls.crt and tls.key")
    options = parser.parse_args()
    fleet = Fleet(addresses=_Cluster(options.namespace, options.service).addresses, page=_page)
    server = ThreadingHTTPServer(("", options.port), _handler(options.namespace, fleet))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(options.tls / "tls.crt", options.tls / "tls.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
