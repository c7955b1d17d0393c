"""The last words of crashed engines, each read once."""

from __future__ import annotations

from andante.app.pods import Pods
from andante.ports import Cluster, NotFoundError, Object, RefusedError

LINES = 12


class CrashLogs:
    """Reads a crashed container's log when its restart count changed; forgets pods that are gone."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._read: dict[str, tuple[int, str]] = {}

    def of(self, pods: Pods) -> dict[str, str]:
        """By pod name: the last lines of the engine's previous run. Raises UnavailableError."""
        logs: dict[str, str] = {}
        for pod in pods.starting:
            uid = pod["metadata"]["uid"]
            for container in (pod.get("status") or {}).get("containerStatuses") or ():
                restarts = int(container.get("restartCount") or 0)
                if not restarts:
                    continue
                if self._read.get(uid, (0, ""))[0] != restarts:
                    self._read[uid] = (restarts, self._log(pod, container["name"]))
                logs[pod["metadata"]["name"]] = self._read[uid][1]
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
