"""Reads an object that is not as the watch showed it. The watch may only be late; it may also be waiting for its next
try after an outage, and until then every further write of the same object would conflict again."""

from __future__ import annotations

import contextlib

from andante.app.world import Key, World
from andante.ports import Cluster, NotFoundError, RefusedError, UnavailableError


def look_again(cluster: Cluster, world: World, key: Key) -> None:
    """Take the object's present version into the world. Where it cannot be read, the watch will tell later."""
    kind, namespace, name = key
    known = world.get(kind, namespace, name)
    with contextlib.suppress(RefusedError, UnavailableError):
        try:
            world.put(cluster.read(kind=kind, namespace=namespace, name=name))
        except NotFoundError:
            if known is not None:
                world.drop(known)
