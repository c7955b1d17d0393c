"""The last words of crashed containers, each read once."""

from __future__ import annotations

from andante.app.pods import Pods, containers_of
from andante.ports import Cluster, NotFoundError, Object, RefusedError

LINES = 12


class CrashLogs:
    """Reads a crashed container's log when its restart count changed; forgets pods that are gone."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._read: dict[str, dict[str, tuple[int, str]]] = {}

    def of(self, pods: Pods) -> dict[tuple[str, str], str]:
        """By pod and container name: the last lines of the previous run. Raises UnavailableError."""
        logs: dict[tuple[str, str], str] = {}
        for pod in pods.starting:
            for container in containers_of(pod):
                restarts = int(container.get("restartCount") or 0)
                if not restarts:
                    continue
                read = self._read.setdefault(pod["metadata"]["uid"], {})
                if read.get(container["name"], (0, ""))[0] != restarts:
                    read[container["name"]] = (restarts, self._log(pod, container["name"]))
                logs[pod["metadata"]["name"], container["name"]] = read[container["name"]][1]
        for gone in (*pods.ready, *pods.draining, *pods.lost):
            self._read.pop(gone["metadata"]["uid"], None)
        return logs

    def _log(self, pod: Object, container: str) -> str:
        metadata = pod["metadata"]
        try:
            return self._cluster.last_log_lines(
                namespace=metadata["namespace"], pod=metadata["name"], container=container, lines=LINES
            )
        except (NotFoundError, RefusedError):
            return ""
