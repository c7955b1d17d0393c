"""What the use cases are tested with: a clock that a test moves, and an API server's store without the server."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from andante.app.world import World, key_of, merge_patch
from andante.ports import NotFoundError, Object, PodAddress, PodSample, UnavailableError, Unread


class StepClock:
    def __init__(self, at: float = 1_800_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def step(self, seconds: float) -> None:
        self.at += seconds


def apply_merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386, as the API server does it."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


class MemoryCluster:
    """Keeps objects and notes the calls; fails on demand. Behaviour of the real API is tested in tests/operator."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []
        self.refuse: dict[str, Exception] = {}
        self.down = False
        self._version = 100

    def store(self, obj: Object) -> dict[str, Any]:
        self._version += 1
        kept = copy.deepcopy(dict(obj))
        kept["metadata"] = {"uid": f"uid-{self._version}", **kept["metadata"], "resourceVersion": str(self._version)}
        self.objects[key_of(kept)] = kept
        return kept

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [o for key, o in self.objects.items() if key[0] == kind]

    def _called(self, verb: str, kind: str) -> None:
        if self.down:
            raise UnavailableError("the API server did not answer")
        self.calls.append((verb, kind))
        if kind in self.refuse and verb != "get":
            raise self.refuse[kind]

    def read(self, *, kind: str, namespace: str, name: str) -> Object:
        self._called("get", kind)
        try:
            return self.objects[kind, namespace, name]
        except KeyError:
            raise NotFoundError(f"{kind} {name} not found") from None

    def list(self, kind: str, *, namespace: str | None = None) -> tuple[Sequence[Object], int]:
        self._called("list", kind)
        return [o for o in self.of_kind(kind) if namespace in (None, o["metadata"]["namespace"])], self._version

    def apply(self, manifest: Object) -> Object:
        self._called("apply", manifest["kind"])
        live = self.objects.get(key_of(manifest), {})
        return self.store(apply_merge_patch(live, manifest))

    def delete(self, *, kind: str, namespace: str, name: str, uid: str) -> None:
        self._called("delete", kind)
        if self.objects.get((kind, namespace, name), {}).get("metadata", {}).get("uid") == uid:
            del self.objects[kind, namespace, name]

    def patch_status(self, *, namespace: str, name: str, status: Object) -> Object:
        self._called("patch-status", "LLMService")
        live = self.objects["LLMService", namespace, name]
        return self.store({**live, "status": apply_merge_patch(live.get("status") or {}, status)})

    def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        self._called("annotate", "Pod")
        pod = self.objects["Pod", namespace, name]
        self.store(apply_merge_patch(pod, {"metadata": {"annotations": dict(annotations)}}))

    def last_log_lines(self, *, namespace: str, pod: str, container: str, lines: int) -> str:
        self._called("log", "Pod")
        return "ValueError: the last words"

    def emit(self, *, about: Object, kind: str, reason: str, message: str) -> None:
        self._called("create", "Event")
        self.events.append((reason, message))


class FixedMetrics:
    """A MetricsSource that says what the test put in."""

    def __init__(self) -> None:
        self.samples: dict[tuple[str, str], PodSample | Unread] = {}

    async def read(self, pods: Sequence[PodAddress]) -> Mapping[tuple[str, str], PodSample | Unread]:
        return {
            (p.namespace, p.name): self.samples.get((p.namespace, p.name), Unread(why="not asked for")) for p in pods
        }


def see_everything(world: World, cluster: MemoryCluster) -> None:
    """What the watches would have told by now."""
    for obj in list(cluster.objects.values()):
        world.put(obj)


__all__ = ["FixedMetrics", "MemoryCluster", "StepClock", "apply_merge_patch", "merge_patch", "see_everything"]
