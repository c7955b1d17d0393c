"""Splits the pods over several queries, so that no answer is large and a failure costs the pods of one query alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from andante.adapters.prometheus_rows import PodKey
from andante.ports import PodAddress, PodSample, Unread

SHARD_PODS = 175
"""Pods of one query, unless one service has more: 6,500 series of one QoE class, 3 MB of JSON."""
SHARD_NAMES = 30
"""Namespaces or Deployments of one query. The URL contains each name twice, and proxies limit a URL to 8 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The pods of one query: all pods of some namespaces, or those of some Deployments in one namespace."""

    namespaces: Sequence[str]
    deployments: Sequence[str] = ()
    pods: Sequence[PodKey]

    @property
    def selector(self) -> str:
        """Matchers that select the pods' series, and perhaps some others."""
        namespaces = f'namespace=~"{"|".join(self.namespaces)}"'
        return f'{namespaces}, pod=~"({"|".join(self.deployments)})-.+"' if self.deployments else namespaces

    def all(self, unread: Unread) -> dict[PodKey, PodSample | Unread]:
        """The same answer for each pod of the shard."""
        return dict.fromkeys(self.pods, unread)


def shards(pods: Sequence[PodAddress]) -> Iterator[Shard]:
    """Split the pods by namespaces, and a large namespace by Deployments."""
    by_namespace = _grouped(((pod.namespace, pod.name) for pod in pods), by=lambda key: key[0])
    small = {name: keys for name, keys in by_namespace.items() if len(keys) <= SHARD_PODS}
    for names, keys in _packed(small):
        yield Shard(namespaces=names, pods=keys)
    for namespace in sorted(by_namespace.keys() - small.keys()):
        # DEPLOYMENT-REPLICASET-POD
        by_deployment = _grouped(by_namespace[namespace], by=lambda key: key[1].rsplit("-", 2)[0])
        for names, keys in _packed(by_deployment):
            yield Shard(namespaces=[namespace], deployments=names, pods=keys)


def _grouped(keys: Iterable[PodKey], *, by: Callable[[PodKey], str]) -> dict[str, list[PodKey]]:
    found: dict[str, list[PodKey]] = defaultdict(list)
    for key in keys:
        found[by(key)].append(key)
    return found


def _packed(groups: Mapping[str, Sequence[PodKey]]) -> Iterator[tuple[list[str], list[PodKey]]]:
    """Whole groups together, as many as fit into one query."""
    names: list[str] = []
    keys: list[PodKey] = []
    for name, its in sorted(groups.items()):
        if keys and (len(keys) + len(its) > SHARD_PODS or len(names) == SHARD_NAMES):
            yield names, keys
            names, keys = [], []
        names.append(name)
        keys += its
    if keys:
        yield names, keys
