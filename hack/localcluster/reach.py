"""Reaches a Service through the API server, where this machine cannot reach the cluster's addresses: kind, kubeconfigs.

`kubectl proxy` listens on loopback and forwards requests to the Service with the kubeconfig's rights; the API server
chooses a pod for each request. (`kubectl port-forward` would send all requests to one pod, whatever the scaler does.)
The proxy forwards to this one Service only, so that other users of this machine get no further rights.
"""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path
from typing import IO

from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say

_START_SECONDS = 30.0
_RESTARTS = 20


class ServiceProxy:
    """A `kubectl proxy` for one Service, started again on the same port when it ends.

    Raises ClusterError where kubectl cannot do it.
    """

    def __init__(self, *, kubectl: Path, kubeconfig: Path, namespace: str, service: str, port: int) -> None:
        self._path = f"/api/v1/namespaces/{namespace}/services/http:{service}:{port}/proxy"
        self._command = [
            *(str(kubectl), f"--kubeconfig={kubeconfig}", "proxy", "--address=127.0.0.1"),
            f"--accept-paths=^{re.escape(self._path)}(/.*)?$",
        ]
        self._closing = threading.Event()
        self._process, self._port = self._started(0)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    @property
    def url(self) -> str:
        """Base address of the Service on this machine."""
        return f"http://127.0.0.1:{self._port}{self._path}"

    @property
    def pid(self) -> int:
        """Pid of the present kubectl."""
        return self._process.pid

    def close(self) -> None:
        self._closing.set()
        self._process.terminate()
        self._keeper.join(timeout=10)
        _ended(self._process)

    def _keep(self) -> None:
        for _ in range(_RESTARTS):
            _ended(self._process)
            if self._closing.is_set():
                return
            say("kubectl proxy ended; starting it again (streams through it were cut)")
            try:
                self._process, self._port = self._started(self._port)
            except ClusterError as error:
                say(f"no way to the Service any more: {error}")
                return

    def _started(self, port: int) -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [*self._command, f"--port={port}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        output = _output(process)
        patience = threading.Timer(_START_SECONDS, process.kill)
        patience.start()
        said = output.readline()  # "Starting to serve on 127.0.0.1:PORT", or why it cannot
        patience.cancel()
        found = re.search(r"127\.0\.0\.1:(\d+)", said)
        if found is None:
            process.kill()
            _ended(process)
            raise ClusterError(
                f"no way to the Service through the API server: kubectl proxy said {said.strip() or 'nothing'!r}",
                " ".join([*self._command[:3], "--port=0"]),
            )
        return process, int(found[1])


def _output(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdout is None:
        raise AssertionError("stdout is a pipe")
    return process.stdout


def _ended(process: subprocess.Popen[str]) -> None:
    """Return when the process has ended. Read its output until then: a full pipe would block the process."""
    output = _output(process)
    if not output.closed:
        with output:
            for _ in output:
                pass
    process.wait()
