"""When the operator or its settings alter the pods of all services, these are replaced in turns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.localcluster.api import ControlPlane

from operator_pods import finish_rollout, package_image, pods_of
from operator_process import Namespace, OperatorProcess, wait_for

NAMES = ("a", "b", "c")


@pytest.fixture
def operated(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Callable[[str], OperatorProcess]]:
    """Starts the operator whose own image has this tag, in place of the one before."""
    running: list[OperatorProcess] = []

    def start(tag: str) -> OperatorProcess:
        for before in running:
            before.stop()
        settings = {"operatorImage": f"example.invalid/andante-operator:{tag}", "rolloutBudget": "1"}
        running.append(OperatorProcess(control_plane, tmp_path, namespaces=[namespace], **settings))
        return running[-1].start()

    yield start
    for process in running:
        process.stop()


def _template(ns: Namespace, name: str) -> dict[str, Any]:
    template: dict[str, Any] = (ns.get("deployment", name) or {})["spec"]["template"]
    return template


def _new(ns: Namespace, tag: str) -> set[str]:
    """Services whose pods are to have the operator's image of that tag."""
    images = {d["metadata"]["name"]: package_image(d) for d in ns.items("deployments")}
    return {name for name, image in images.items() if image.endswith(f":{tag}")}


def _serving(ns: Namespace) -> None:
    for name in NAMES:
        ns.apply(name=name)
    for name in NAMES:
        wait_for(f"the pod of {name}", lambda name=name: pods_of(ns, name))
        finish_rollout(ns, name)
    for name in NAMES:
        ns.wait_condition("RolledOut", "True", "UpToDate", name=name)


def _ticks(operator: OperatorProcess, count: int) -> None:
    before = operator.metric("andante_operator_ticks_total")
    wait_for(f"{count} ticks", lambda: operator.metric("andante_operator_ticks_total") >= before + count)


def test_services_roll_one_after_the_other_and_go_on_with_a_new_operator(
    operated: Callable[[str], OperatorProcess], ns: Namespace
) -> None:
    operated("1")
    _serving(ns)
    operator = operated("2")
    wait_for("the first turn", lambda: len(_new(ns, "2")) == 1, told=operator.tail)
    waiting = sorted(set(NAMES) - _new(ns, "2"))
    for name in waiting:
        told = ns.wait_condition("RolledOut", "False", "RolloutWaiting", name=name)
        assert "rolloutBudget" in told
    _ticks(operator, 4)
    assert len(_new(ns, "2")) == 1
    assert operator.metric("andante_operator_rollouts", state="rolling") == 1
    assert operator.metric("andante_operator_rollouts", state="waiting") == 2

    operator.kill()
    operator.start()
    _ticks(operator, 4)
    (first,) = _new(ns, "2")

    finish_rollout(ns, first)
    ns.wait_condition("RolledOut", "True", "UpToDate", name=first)
    wait_for("the second turn", lambda: len(_new(ns, "2")) == 2, told=operator.tail)
    _ticks(operator, 3)
    assert len(_new(ns, "2")) == 2
    (second,) = _new(ns, "2") - {first}
    finish_rollout(ns, second)
    wait_for("the last turn", lambda: len(_new(ns, "2")) == 3, told=operator.tail)
    (third,) = _new(ns, "2") - {first, second}
    finish_rollout(ns, third)
    for name in NAMES:
        ns.wait_condition("RolledOut", "True", "UpToDate", name=name)
        assert len(pods_of(ns, name)) == 1


def test_who_waits_is_scaled_and_repaired_and_who_is_changed_by_its_author_begins(
    operated: Callable[[str], OperatorProcess], ns: Namespace
) -> None:
    operated("1")
    _serving(ns)
    before = {name: _template(ns, name) for name in NAMES}
    operator = operated("2")
    wait_for("the first turn", lambda: len(_new(ns, "2")) == 1, told=operator.tail)
    one, other = sorted(set(NAMES) - _new(ns, "2"))
    for name in (one, other):
        ns.wait_condition("RolledOut", "False", "RolloutWaiting", name=name)

    ns.patch({"scaling": {"minReplicas": 2, "maxReplicas": 3}}, name=one)
    wait_for("two replicas", lambda: ns.replicas(one) == 2, told=operator.tail)
    _ticks(operator, 2)
    assert _template(ns, one) == before[one]

    config = (ns.get("configmap", f"{one}-engine") or {})["data"]
    edit = {"data": dict.fromkeys(config, "edited")}
    ns.kubectl("patch", "configmap", f"{one}-engine", "--type=merge", "-p", json.dumps(edit))
    wait_for(
        "the ConfigMap as it was",
        lambda: (ns.get("configmap", f"{one}-engine") or {})["data"] == config,
        told=operator.tail,
    )
    assert _template(ns, one) == before[one]

    ns.patch({"engine": {"env": [{"name": "A", "value": "1"}]}}, name=other)
    wait_for("the author's change", lambda: other in _new(ns, "2"), told=operator.tail)
    assert _template(ns, one) == before[one]
