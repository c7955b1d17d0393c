"""Lets one operator work at a time, by a Lease in the operator's namespace. In a healthy cluster the Recreate strategy
and one replica are enough. They are not enough with a lost node, a second installation, or an operator on a laptop.

An operator that ends deletes its Lease. Where `helm uninstall` removed that right first, the garbage collector deletes
the Lease: the operator's Deployment owns it. So the next operator waits only for an operator that may still work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from andante.adapters.kubernetes import KubernetesCluster
from andante.ports import Clock, NotFoundError, Object, RefusedError, UnavailableError

logger = logging.getLogger(__name__)

LEASE_NAME = "andante-operator"
OWNER = ("apps/v1", "Deployment", "andante-operator")
"""API version, kind and name of the Lease's owner. An operator outside the cluster has none."""
DURATION_SECONDS = 20
RENEW_SECONDS = 7.0
TRY_SECONDS = 2.0
MARGIN_SECONDS = 2.0
"""The operator stops writing this long before its Lease ends."""


class LeaseLostError(Exception):
    """Another operator may work: this one must stop."""


class LeaseGuard:
    """Holds the lease from `acquire` until `release`; `keep` renews it."""

    def __init__(
        self,
        cluster: KubernetesCluster,
        *,
        namespace: str,
        identity: str,
        clock: Clock,
        on_word: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_word` is called whenever the API server said who holds the Lease."""
        self._on_word = on_word
        self._cluster, self._namespace, self._identity, self._clock = cluster, namespace, identity, clock
        # The other operator's clock may be wrong: the Lease is over once our clock saw no change for its duration.
        self._seen: tuple[str, float] = ("", 0.0)
        self._owners: list[Object] | None = None
        self._renewed: float | None = None
        """When the newest answered renewal was sent, monotonic seconds."""

    def seconds_left(self) -> float:
        """Seconds for which no other operator can get the Lease; 0 where this operator may not hold it."""
        if self._renewed is None:
            return 0.0
        return max(0.0, self._renewed + DURATION_SECONDS - MARGIN_SECONDS - self._clock.monotonic())

    async def acquire(self) -> None:
        """Return once we hold the Lease. Raises RefusedError where the operator has no right to Leases."""
        told = ""
        while True:
            try:
                holder = await asyncio.to_thread(self._try)
            except UnavailableError as error:
                holder = f"the API server to answer ({error})"
            if not holder:
                return
            if holder != told:
                logger.info("waiting for %s; Lease %s/%s", holder, self._namespace, LEASE_NAME)
                told = holder
            await asyncio.sleep(TRY_SECONDS)

    async def keep(self) -> None:
        """Renew until cancelled. Raises LeaseLostError when another operator holds the Lease.

        The operator does not stop when the API server does not answer: without the API server no operator can write.
        The first renewal that is answered again says whether another operator took over.
        """
        delay = RENEW_SECONDS
        while True:
            await asyncio.sleep(delay)
            delay = RENEW_SECONDS
            try:
                holder = await asyncio.to_thread(self._try)
            except (UnavailableError, NotFoundError) as error:
                logger.warning("the lease was not renewed: %s", error)
                delay = TRY_SECONDS
                continue
            if holder:
                raise LeaseLostError(f"the lease {self._namespace}/{LEASE_NAME} was taken over: waiting for {holder}")

    async def release(self) -> None:
        """Let the next operator start at once."""
        self._renewed = None
        try:
            await asyncio.to_thread(self._release)
        except NotFoundError:
            return
        except (UnavailableError, RefusedError) as error:
            logger.info(
                "the lease was not released (%s); it goes with the operator's Deployment, or ends in %d s",
                error,
                DURATION_SECONDS,
            )

    def _try(self) -> str:
        """Take or renew the Lease; return the holder to wait for, or "" when we hold it."""
        sent = self._clock.monotonic()
        try:
            lease = self._cluster.read(kind="Lease", namespace=self._namespace, name=LEASE_NAME)
        except NotFoundError:
            self._cluster.create(self._lease({}, transitions=0))
            self._on_word()
            self._renewed = sent
            return ""
        self._on_word()
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder and holder != self._identity and not self._is_over(lease):
            return f"the operator {holder!r} to stop"
        transitions = int(spec.get("leaseTransitions") or 0) + (holder != self._identity)
        self._cluster.update(self._lease(lease["metadata"], transitions=transitions))
        self._renewed = sent
        return ""

    def _is_over(self, lease: Object) -> bool:
        version, now = lease["metadata"]["resourceVersion"], self._clock.monotonic()
        if self._seen[0] != version:
            self._seen = (version, now)
        return now - self._seen[1] > float(lease["spec"].get("leaseDurationSeconds") or DURATION_SECONDS)

    def _release(self) -> None:
        lease = self._cluster.read(kind="Lease", namespace=self._namespace, name=LEASE_NAME)
        if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
            uid = lease["metadata"]["uid"]
            self._cluster.delete(kind="Lease", namespace=self._namespace, name=LEASE_NAME, uid=uid)

    def _owner_references(self) -> list[Object]:
        """The Deployment that owns the Lease; looked up once, as the operator's pod ends with the Deployment."""
        if self._owners is None:
            version, kind, name = OWNER
            try:
                found = self._cluster.read(kind=kind, namespace=self._namespace, name=name)
            except (NotFoundError, RefusedError) as error:
                logger.info("the lease has no owner, and stays behind where it cannot be released: %s", error)
                self._owners = []
            else:
                self._owners = [{"apiVersion": version, "kind": kind, "name": name, "uid": found["metadata"]["uid"]}]
        return self._owners

    def _lease(self, metadata: Object, *, transitions: int) -> dict[str, Any]:
        now = (
            datetime.fromtimestamp(self._clock.now(), tz=UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        )
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                **metadata,
                "name": LEASE_NAME,
                "namespace": self._namespace,
                "ownerReferences": self._owner_references(),
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
