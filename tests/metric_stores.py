"""Stores of metrics for tests: Prometheus 2 and 3 and VictoriaMetrics out of Debian's packages, filled with a history.

A history is given and not waited for: a test asks a store as of any moment of it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from hack.free_ports import free_ports
from hack.localcluster.progress import wait_until

from debian_programs import Program, program
from small_server import serving

STORES = ("prometheus 2", "prometheus 3", "victoria-metrics")
Sample = tuple[float, str]
"""Unix time, and a line of exposition text without a time."""


@contextmanager
def filled(store: str, folder: Path, samples: Sequence[Sample]) -> Iterator[str]:
    """The URL of a store that holds `samples`, all of them hours old."""
    if store == "victoria-metrics":
        with victoria_metrics(folder) as url:
            lines = "".join(f"{line} {round(at * 1000)}\n" for at, line in samples)
            requests.post(f"{url}/api/v1/import/prometheus", data=lines.encode(), timeout=60).raise_for_status()
            requests.get(f"{url}/internal/force_flush", timeout=60).raise_for_status()
            yield url
        return
    history = folder / "history.txt"
    by_series = sorted(samples, key=lambda sample: (sample[1].rpartition(" ")[0], sample[0]))
    history.write_text("".join(f"{line} {at}\n" for at, line in by_series) + "# EOF\n")
    tool = program("prometheus", name="promtool")
    command = [str(tool.path), "tsdb", "create-blocks-from", "openmetrics", str(history), str(folder / "tsdb")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **tool.environment})
    (folder / "prometheus.yaml").write_text("{}\n")
    with prometheus(store, folder) as url:
        yield url


@contextmanager
def prometheus(store: str, folder: Path, *options: str, path: str = "", ready: str = "http") -> Iterator[str]:
    """A Prometheus with `folder`/prometheus.yaml; `ready`: the scheme by which it answers."""
    found = program("prometheus", suite="forky" if store == "prometheus 3" else "")
    (port,) = free_ports(1)
    files = [f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    arguments = [*files, f"--web.listen-address=127.0.0.1:{port}", *options]
    with _running(found, arguments, folder=folder, port=port, path="/-/ready" if ready == "http" and not path else ""):
        yield f"{ready}://127.0.0.1:{port}{path}"


@contextmanager
def victoria_metrics(folder: Path, *options: str, path: str = "") -> Iterator[str]:
    """A VictoriaMetrics of one node."""
    (port,) = free_ports(1)
    arguments = [f"-storageDataPath={folder / 'data'}", f"-httpListenAddr=127.0.0.1:{port}", *options]
    with _running(
        program("victoria-metrics", suite="forky"), arguments, folder=folder, port=port, path=f"{path}/health"
    ):
        yield f"http://127.0.0.1:{port}{path}"


@contextmanager
def _running(found: Program, arguments: Iterable[str], *, folder: Path, port: int, path: str) -> Iterator[None]:
    """While the program runs; it has begun once `path` answers (or asks for a login), or with "" once the port does."""
    log = folder / "log"
    with log.open("wb") as output:
        environment = {**os.environ, **found.environment}
        process = subprocess.Popen([str(found.path), *arguments], stdout=output, stderr=output, env=environment)

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            answer = requests.get(f"http://127.0.0.1:{port}{path}", timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code in (200, 401) or not path

    try:
        wait_until(answers, what=f"{found.path.name} to answer", timeout_seconds=60, poll_seconds=0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


class Moment:
    """The time as of which a store is asked."""

    def __init__(self, at: float) -> None:
        self.at = at


@contextmanager
def asked_as_of(moment: Moment, url: str) -> Iterator[str]:
    """The URL of a proxy that asks the store at `url` as if it were `moment` now."""

    def answer(path: str) -> tuple[int, str, bytes]:
        parts = urlsplit(path)
        query = urlencode({"time": f"{moment.at:.3f}", **dict(parse_qsl(parts.query))})
        found = requests.get(f"{url}{parts.path}?{query}", timeout=30)
        return found.status_code, found.headers.get("Content-Type", ""), found.content

    with serving(answer) as port:
        yield f"http://127.0.0.1:{port}"
