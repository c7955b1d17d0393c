"""The operator does everything with the chart's rules, and needs each of them: the API server's audit log tells.

In both modes the chart is installed by helm, and the operator lives through all that it does, as a process under the
chart's service account. A verb that is granted and was not used fails; so does a call that was refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hack.localcluster.api import ControlPlane
from hack.localcluster.progress import wait_until

from andante.app.children import APPLIED
from helm_release import OPERATOR, POD_MONITOR_CRD, PROMETHEUS_RULE_CRD, SYSTEM, Release, helm_binary
from operator_pods import container_waits, engines, make_ready, pods_of, set_pod_status, wait_pods
from operator_process import Namespace, OperatorProcess, wait_for

TEAM = "team"
USER = f"system:serviceaccount:{SYSTEM}:{OPERATOR}"
CHILD_KINDS = tuple(kind.kind.lower() for kind in APPLIED)

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [USER]}, {"level": "None"}],
}

Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""


@dataclass(frozen=True, slots=True)
class Lived:
    """What the operator was granted, and what the API server saw of it."""

    watched: tuple[str, ...]
    """The chart's value watchNamespaces."""
    granted: frozenset[Right]
    used: frozenset[Right]
    refused: tuple[str, ...]
    namespaces: frozenset[str]
    """Those that it called for, "" for all at once."""


@pytest.fixture(scope="module", params=["all namespaces", "named namespaces"])
def lived(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    folder = tmp_path_factory.mktemp("rbac")
    policy, log = folder / "policy.json", folder / "audit.log"
    policy.write_text(json.dumps(AUDIT_POLICY))
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-mode=blocking-strict")
    with ControlPlane(extra_apiserver_flags=flags) as plane:
        plane.kubectl("create", "namespace", TEAM)
        for crd in (POD_MONITOR_CRD, PROMETHEUS_RULE_CRD):
            plane.kubectl("apply", "-f", "-", stdin=json.dumps(crd))
        release = Release(plane, helm=helm_binary())
        watched = [TEAM] if request.param == "named namespaces" else []
        release.install(tickSeconds=1, watchNamespaces=watched)
        wait_until(
            lambda: plane.kubectl("explain", "llmservices.spec", check=False).returncode == 0,
            what="the API server to serve llmservices",
            timeout_seconds=60,
            poll_seconds=0.2,
        )
        operator = release.operator(folder).start()
        try:
            _live(Namespace(plane, TEAM), operator)
        finally:
            operator.stop()
        yield _lived(plane, log, watched)


def _live(ns: Namespace, operator: OperatorProcess) -> None:
    """Everything that an operator does in its life."""
    quick = {"scaleDown": {"stabilizationWindow": "1s"}}
    scaling = {"minReplicas": 2, "maxReplicas": 2, "behavior": quick}
    ns.apply(networkPolicy={"enabled": True}, scaling=scaling)
    names = {kind: "chat-engine" if kind == "configmap" else "chat" for kind in CHILD_KINDS}
    for kind, name in names.items():
        wait_for(f"the {kind}", lambda k=kind, n=name: ns.get(k, n), told=operator.tail)

    # An engine that crashes, and then two that serve.
    first, second = wait_pods(ns, 2)
    crash = {"terminated": {"exitCode": 1, "reason": "Error"}}
    crash_loop = container_waits("CrashLoopBackOff", restartCount=1, lastState=crash)
    set_pod_status(ns, first, crash_loop)
    ns.wait_condition("Degraded", "True", "CrashLoop")
    # Once more: the Event that exists counts it.
    set_pod_status(ns, first, container_waits("ContainerCreating"))
    ns.wait_condition("Degraded", "False", "AsWanted")
    set_pod_status(ns, first, crash_loop)
    ns.wait_condition("Degraded", "True", "CrashLoop")
    with engines(2) as running:
        for engine, pod in zip(running, (first, second), strict=True):
            engine.open_requests = 3.0
            make_ready(ns, pod, engine)
        # What a replica carries is learned first; then, with fewer readers, one replica will do. Before it takes the
        # other away, the operator tells the pods what it costs to delete them.
        _ticks(operator, 6)
        running[0].open_requests, running[1].open_requests = 1.0, 0.0
        ns.patch({"scaling": {"minReplicas": 1}})
        wait_for("one replica to be wanted", lambda: ns.replicas() == 1, told=operator.tail)
        wait_for("one pod", lambda: len(pods_of(ns)) == 1, told=operator.tail)

    # Children that somebody edits, that somebody deletes, and that this version does not know.
    for kind, name in names.items():
        live = ns.get(kind, name)
        assert live is not None
        ns.kubectl(
            "label", kind, name, "andante.dev/llmservice-", "app.kubernetes.io/managed-by=somebody", "--overwrite"
        )
        wait_for(f"the {kind} to be put right", lambda k=kind, n=name: _managed_by(ns, k, n) == "andante")
        ns.kubectl("delete", kind, name, "--wait=false")
        wait_for(
            f"the {kind} to be back",
            lambda k=kind, n=name, uid=live["metadata"]["uid"]: _uid(ns, k, n) not in (None, uid),
            told=operator.tail,
        )
        _apply_as_older_version(ns, kind, name)
        wait_for(f"the older {kind} to be deleted", lambda k=kind: ns.get(k, "older") is None, told=operator.tail)
    ns.kubectl("delete", "llmservice", "chat")
    wait_for("the children to be gone", lambda: not ns.items("deployment"))


def _ticks(operator: OperatorProcess, count: int) -> None:
    name = "andante_operator_ticks_total"
    end = operator.metric(name) + count
    wait_for(f"{count} ticks", lambda: operator.metric(name) >= end, told=operator.tail)


def _managed_by(ns: Namespace, kind: str, name: str) -> Any:
    return ((ns.get(kind, name) or {"metadata": {}})["metadata"].get("labels") or {}).get(
        "app.kubernetes.io/managed-by"
    )


def _uid(ns: Namespace, kind: str, name: str) -> str | None:
    found = ns.get(kind, name)
    return found["metadata"]["uid"] if found else None


def _apply_as_older_version(ns: Namespace, kind: str, name: str) -> None:
    """A child under a name that an older operator may have given it: this one has to clear it away."""
    live = ns.get(kind, name)
    assert live is not None
    kept = ("labels", "annotations", "ownerReferences")
    older = {key: value for key, value in live.items() if key != "status"}
    older["metadata"] = {"name": "older", **{key: live["metadata"][key] for key in kept}}
    for field in ("clusterIP", "clusterIPs"):
        (older.get("spec") or {}).pop(field, None)
    ns.kubectl("create", "-f", "-", stdin=json.dumps(older))


def _lived(plane: ControlPlane, log: Path, watched: list[str]) -> Lived:
    used: set[Right] = set()
    refused: list[str] = []
    namespaces: set[str] = set()
    for line in log.read_text().splitlines():
        event = json.loads(line)
        target = event.get("objectRef")
        if target is None or not target.get("resource"):
            continue  # discovery, which everybody may read
        resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
        right = (target.get("apiGroup", ""), resource, event["verb"])
        if event["annotations"].get("authorization.k8s.io/decision") != "allow":
            refused.append(f"{event['verb']} {event['requestURI']}")
            continue
        code = event.get("responseStatus", {}).get("code")
        if code == 403:
            refused.append(f"{event['verb']} {event['requestURI']}: 403")
        used.add(right)
        namespaces.add(target.get("namespace", ""))
        if event["verb"] == "patch" and code == 201:
            # Server-side apply of what is not there: the API server asks for the right to create, too.
            used.add((right[0], right[1], "create"))
    return Lived(
        watched=tuple(watched),
        granted=frozenset(_granted(plane)),
        used=frozenset(used),
        refused=tuple(refused),
        namespaces=frozenset(namespaces),
    )


def _granted(plane: ControlPlane) -> set[Right]:
    """The rules of every role that is bound to the operator's service account, whoever bound it."""
    granted: set[Right] = set()
    listed = plane.kubectl("get", "rolebindings,clusterrolebindings", "-A", "-o", "json").stdout
    for binding in json.loads(listed)["items"]:
        subjects = [(s["kind"], s.get("namespace"), s["name"]) for s in binding.get("subjects") or ()]
        if ("ServiceAccount", SYSTEM, OPERATOR) not in subjects:
            continue
        role = binding["roleRef"]
        place = ("-n", binding["metadata"]["namespace"]) if role["kind"] == "Role" else ()
        found = json.loads(plane.kubectl(*place, "get", role["kind"], role["name"], "-o", "json").stdout)
        for rule in found["rules"]:
            granted |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return granted


def test_the_operator_has_rights_at_all(lived: Lived) -> None:
    assert len(lived.granted) > 20


def test_nothing_that_it_does_is_refused(lived: Lived) -> None:
    assert lived.refused == ()


def test_every_verb_that_it_has_is_used(lived: Lived) -> None:
    assert sorted(lived.granted - lived.used) == []


def test_every_verb_that_it_uses_is_granted_by_the_chart(lived: Lived) -> None:
    assert sorted(lived.used - lived.granted) == []


def test_named_namespaces_are_all_that_it_calls_for(lived: Lived) -> None:
    everywhere = {""} if not lived.watched else set()
    assert lived.namespaces == {TEAM, SYSTEM} | everywhere
