"""The chaos' ledger says of each kind of wrong write that it is one, and nothing of right ones."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.ledger import Ledger
from chaos.proxy import Write
from chaos.services import Part, Service

CHAT = Service(namespace="team", name="chat", part=Part.STEADY, uids=["u1"])
HELD = Service(namespace="team", name="held", part=Part.HELD, uids=["u2"])
TAKEN = Service(namespace="team", name="taken", part=Part.TAKEN, uids=["u3"])
LEASE = "/apis/coordination.k8s.io/v1/namespaces/system/leases/andante-operator"
DEPLOYMENTS = "/apis/apps/v1/namespaces/team/deployments"
ACCOUNTS = "/api/v1/namespaces/team/serviceaccounts"
SERVICES = "/apis/andante.dev/v1alpha1/namespaces/team/llmservices"


def _write(
    path: str, *, version: int, owner: str = "", replicas: int | None = None, method: str = "PATCH",
    operator: str = "first", body: dict[str, Any] | None = None, uid: str = "child",
) -> Write:  # fmt: skip
    owners = [{"kind": "LLMService", "name": "chat", "uid": owner}] if owner else []
    answer = {"metadata": {"resourceVersion": str(version), "uid": uid, "ownerReferences": owners}}
    spec = {"spec": {"replicas": replicas}} if replicas is not None else {}
    return Write(operator=operator, method=method, path=path, body=spec if body is None else body, answer=answer)


def _ledger(*writes: Write) -> Ledger:
    ledger = Ledger((CHAT, HELD, TAKEN), reads=lambda _: 0)
    ledger.allow(CHAT, {1})
    for write in (_write(LEASE, version=1, method="PUT"), *writes):
        ledger.on_write(write)
    ledger.judge()
    return ledger


RIGHT = [
    _write(f"{DEPLOYMENTS}/chat", version=5, owner="u1", replicas=1),
    _write(f"{DEPLOYMENTS}/held", version=6, owner="u2", replicas=2),
    _write(f"{SERVICES}/chat/status", version=7, uid="u1"),
    _write("/api/v1/namespaces/team/events", version=8, method="POST"),
    _write(f"{ACCOUNTS}/chat", version=0, method="DELETE", body={"preconditions": {"uid": "child"}}),
]


def test_nothing_is_said_of_right_writes() -> None:
    assert _ledger(*RIGHT).wrong == []


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (_write(f"{DEPLOYMENTS}/chat", version=9, owner="another", replicas=1), "its owners are"),
        (_write(f"{ACCOUNTS}/chat", version=9), "its owners are"),
        (_write(f"{DEPLOYMENTS}/chat", version=9, owner="u1", replicas=2), "2 replicas, where [1] are right"),
        (_write(f"{DEPLOYMENTS}/held", version=9, owner="u2", replicas=1), "1 replicas, where [2] are right"),
        (_write(f"{DEPLOYMENTS}/stranger", version=9, owner="u1"), "it is of no service"),
        (_write(f"{ACCOUNTS}/taken", version=9, owner="u3"), "the name is another's"),
        (_write(f"{ACCOUNTS}/chat", version=9, method="DELETE"), "it deletes whatever has the name"),
        (_write(f"{SERVICES}/chat", version=9, uid="u1"), "only the status"),
        (_write(f"{SERVICES}/chat/status", version=9, uid="another"), "only the status"),
        (_write("/apis/rbac.authorization.k8s.io/v1/clusterroles/x", version=9), "it is of no namespace"),
        (_write(f"{SERVICES}/chat/status", version=9, uid="u1", operator="second"), "when first had the Lease"),
    ],
)
def test_a_wrong_write_is_named(write: Write, why: str) -> None:
    (wrong,) = _ledger(*RIGHT, write).wrong
    assert why in wrong


def test_a_write_is_judged_by_who_had_the_lease_at_its_revision() -> None:
    taken = _write(LEASE, version=20, method="PUT", operator="second")
    before, after = (_write(f"{SERVICES}/chat/status", version=version, uid="u1") for version in (19, 21))
    assert _ledger(before, taken).wrong == []
    assert _ledger(taken, before).wrong == []  # an answer that was told late, or to a write that changed nothing
    assert len(_ledger(taken, after).wrong) == 1
