"""Reads the last log lines of crashed containers, each once."""

from __future__ import annotations

from dataclasses import dataclass

from andante.app.pods import Pods, containers_of
from andante.ports import Cluster, NotFoundError, Object, RefusedError, UnavailableError

LINES = 12
_SECONDS_BETWEEN_TRIES = 60.0
"""Wait before a kubelet that did not answer is asked again."""
_AT_ONCE = 2
"""Most logs that one call reads: hundreds of crashed pods must not block a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    restarts: int
    text: str
    again_at: float | None
    """When to read again, monotonic seconds; None: not again."""


class CrashLogs:
    """Reads a container's log when its restart count changed. For one service; forgets pods that are gone."""

    def __init__(self) -> None:
        self._read: dict[tuple[str, str, str], _Words] = {}

    def of(self, pods: Pods, cluster: Cluster, *, now: float) -> dict[tuple[str, str], str]:
        """The last lines of each container's previous run, by pod and container name, where they could be read.
        `now`: monotonic seconds.
        """
        logs: dict[tuple[str, str], str] = {}
        known, self._read = self._read, {}
        left = _AT_ONCE
        for pod in pods.starting:
            for container in containers_of(pod):
                restarts = int(container.get("restartCount") or 0)
                if not restarts:
                    continue
                key = (str(pod["metadata"]["uid"]), pod["metadata"]["name"], str(container["name"]))
                words = known.get(key)
                is_due = words is None or words.restarts != restarts or (words.again_at or now + 1) <= now
                if is_due and left:
                    left -= 1
                    words = _read(pod, key[2], cluster, restarts=restarts, now=now)
                if words is not None:
                    self._read[key] = words
                    logs[key[1], key[2]] = words.text
        return logs


def _read(pod: Object, container: str, cluster: Cluster, *, restarts: int, now: float) -> _Words:
    metadata = pod["metadata"]
    try:
        text = cluster.last_log_lines(
            namespace=metadata["namespace"], pod=metadata["name"], container=container, lines=LINES
        )
    except (NotFoundError, RefusedError):
        return _Words(restarts=restarts, text="", again_at=None)
    except UnavailableError:
        return _Words(restarts=restarts, text="", again_at=now + _SECONDS_BETWEEN_TRIES)
    return _Words(restarts=restarts, text=text, again_at=None)
