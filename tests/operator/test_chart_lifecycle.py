"""The chart's life on a real API server: admitted, installed, used, upgraded, uninstalled, and nothing left of it.

What stands for the kubelet: tests/chart_plane.py. The same on a real node: tests/e2e.
"""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.localcluster.api import ControlPlane

from chart_plane import Plane
from helm_release import (
    ESTABLISHED,
    IMAGE,
    OPERATOR,
    POD_MONITOR_CRD,
    PROMETHEUS_RULE_CRD,
    ROOT,
    SYSTEM,
    Release,
    helm_binary,
)
from operator_pods import (
    engines,
    finish_rollout,
    is_rolled_out,
    make_ready,
    package_image,
    pods_of,
    traffic,
    wait_pods,
)
from operator_process import Namespace, wait_for

RENDERINGS = ROOT / "tests" / "golden" / "chart"
"""What `helm template` makes; tests/golden/test_chart.py sees to it that they are up to date."""
PREVIOUS = Path(__file__).parent / "previous_chart" / "andante-0.2.0.tgz"
CRD = "llmservices.andante.dev"


@pytest.fixture(scope="module")
def admitting() -> Iterator[ControlPlane]:
    """One for dry runs, with every namespace and kind that a rendering names."""
    with ControlPlane() as control_plane:
        for namespace in (SYSTEM, "team-a", "team-b"):
            control_plane.kubectl("create", "namespace", namespace)
            levels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
            control_plane.kubectl("label", "namespace", namespace, *levels)
        # A bare pod is admitted only where its service account is there.
        control_plane.kubectl("-n", SYSTEM, "create", "serviceaccount", "andante-operator-check")
        for crd in (PROMETHEUS_RULE_CRD, POD_MONITOR_CRD):
            control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(crd))
        for state in ESTABLISHED:
            control_plane.kubectl("wait", state, "crd/podmonitors.monitoring.coreos.com")
        yield control_plane


def _serve(plane: Plane, folder: Path) -> None:
    """A service gets its children from an operator that the chart set up."""
    plane.wait_served()
    with plane.operator(folder) as operator:
        plane.team.apply()
        wait_for("the Deployment", lambda: plane.team.get("deployment", "chat"), told=operator.tail)
        wait_for("the status", lambda: plane.team.status().get("observedGeneration") == 1, told=operator.tail)


@pytest.mark.parametrize("rendering", sorted(RENDERINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_rendering_is_admitted_under_restricted_pod_security(admitting: ControlPlane, rendering: Path) -> None:
    """With unknown fields refused; a Deployment whose pods would be refused brings a warning."""
    command = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(rendering))
    assert admitting.kubectl(*command).stderr == ""


def test_the_notes_name_a_namespace_that_is_watched(admitting: ControlPlane) -> None:
    release = Release(admitting, helm=helm_binary())
    printed = release.install(dry_run="server", watchNamespaces=["team-a", "team-b"])
    notes = printed.split("NOTES:")[1]
    assert "team-a, team-b" in notes
    assert "kubectl apply --namespace team-a -f -" in notes


def test_the_notes_claim_no_more_than_was_seen_and_name_what_to_look_at(admitting: ControlPlane) -> None:
    notes = _notes(admitting)
    assert "is installed in namespace andante-system" in notes
    assert "kubectl rollout status deployment/andante-operator --namespace andante-system" in notes
    assert "cannot pull registry.example.com/andante-operator:0.1.0" in notes


def test_the_service_in_the_notes_is_admitted(plane: Plane) -> None:
    notes = plane.release.install().split("NOTES:")[1]
    plane.wait_served()
    manifest = textwrap.dedent(notes.split("<<EOF\n")[1].split("     EOF\n")[0])
    plane.plane.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "--namespace=default", "-f", "-", stdin=manifest
    )


def _notes(plane: ControlPlane) -> str:
    return Release(plane, helm=helm_binary()).install(dry_run="server").split("NOTES:")[1]


def test_installed_used_and_uninstalled_it_leaves_nothing_but_the_crd(plane: Plane, tmp_path: Path) -> None:
    before = plane.objects()
    plane.release.install(uninstall={"services": "Remove"}, tickSeconds=1)
    plane.wait_served()
    with plane.operator(tmp_path) as operator, plane.hook_pods_run(tmp_path) as said:
        plane.team.apply()
        wait_for("the Deployment", lambda: plane.team.get("deployment", "chat"), told=operator.tail)
        plane.release.helm("uninstall", "andante", "--timeout", "90s")
    assert "1 LLMServices deleted" in "".join(said)
    wait_for("the garbage collector", lambda: plane.objects() <= before | {f"CustomResourceDefinition//{CRD}"})
    plane.plane.kubectl("delete", "crd", CRD)
    assert plane.objects() == before


def test_uninstalled_with_its_services_kept_they_serve_on_until_it_takes_them_over_again(
    plane: Plane, tmp_path: Path
) -> None:
    plane.release.install(tickSeconds=1)
    _serve(plane, tmp_path)
    before = plane.team.get("deployment", "chat") or {}
    plane.release.helm("uninstall", "andante")
    assert plane.team.get("llmservice", "chat") is not None
    assert (plane.team.get("deployment", "chat") or {})["spec"] == before["spec"]
    assert f"CustomResourceDefinition//{CRD}" in plane.objects()

    plane.team.kubectl("delete", "service", "chat")
    plane.release.install(tickSeconds=1)
    with plane.operator(tmp_path) as operator:
        wait_for("the Service to be back", lambda: plane.team.get("service", "chat"), told=operator.tail)
    after = plane.team.get("deployment", "chat") or {}
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_uninstalled_an_operator_ends_well_and_the_next_one_need_not_wait(plane: Plane, tmp_path: Path) -> None:
    """Helm takes the rights away first; then the kubelet, which is the test here, ends the pod."""
    system = Namespace(plane.plane, SYSTEM)
    plane.release.install(tickSeconds=1)
    plane.wait_served()
    with plane.operator(tmp_path) as operator:
        plane.release.helm("uninstall", "andante")
        assert operator.stop() == 0, operator.tail()
    assert "the lease was not released" in operator.log.read_text()
    wait_for("the garbage collector to take the Lease", lambda: system.get("lease", OPERATOR) is None)
    operator.log.unlink()
    plane.release.install(tickSeconds=1)
    with plane.operator(tmp_path) as operator:
        assert (system.get("lease", OPERATOR) or {})["spec"]["leaseTransitions"] == 0
    assert "waiting for the operator" not in operator.log.read_text()


def test_refused_just_before_it_is_told_to_stop_an_operator_ends_well(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(tickSeconds=1)
    plane.wait_served()
    with plane.operator(tmp_path) as operator:
        plane.plane.kubectl("-n", SYSTEM, "delete", "rolebinding", f"{OPERATOR}-lease")
        wait_for("the refusal", lambda: "for SIGTERM, as in an uninstall" in operator.log.read_text())
        assert operator.stop() == 0, operator.tail()


def test_refused_for_good_an_operator_ends_with_the_right_that_it_lacks(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(tickSeconds=1)
    plane.wait_served()
    with plane.operator(tmp_path) as operator:
        plane.plane.kubectl("-n", SYSTEM, "delete", "rolebinding", f"{OPERATOR}-lease")
        assert operator.wait_exit(timeout=60) == 3
    assert 'cannot get resource "leases"' in operator.log.read_text()


def test_upgraded_from_the_previous_chart_a_service_goes_on(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(PREVIOUS, tickSeconds=2)
    plane.wait_served()
    plane.team.apply()
    # The order of docs/how-to/upgrade.md: the CRD first, then the release.
    plane.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    plane.release.upgrade(tickSeconds=1)
    assert plane.release.settings()["tickSeconds"] == 1
    with plane.operator(tmp_path) as operator:
        wait_for("the Deployment", lambda: plane.team.get("deployment", "chat"), told=operator.tail)
    plane.release.helm("rollback", "andante", "1")
    assert plane.release.settings()["tickSeconds"] == 2
    plane.release.helm("uninstall", "andante")


SERVICES = ("a", "b", "c", "loaded")
AT_ONCE = 2


def test_an_upgrade_replaces_the_pods_of_some_services_at_a_time_and_keeps_all_else(
    plane: Plane, tmp_path: Path
) -> None:
    """From an operator that left no marks on its Deployments, as all did before there were turns."""
    release, team = plane.release, plane.team
    release.install(tickSeconds=1, image={**IMAGE, "tag": "old"})
    plane.wait_served()
    with plane.operator(tmp_path) as operator, engines(1) as (engine,):
        for name in SERVICES:
            team.apply(name=name, scaling={"minReplicas": 1, "maxReplicas": 2})
            wait_pods(team, 1, name=name)
        make_ready(team, pods_of(team, "loaded")[0], engine)
        engine.open_requests, engine.open_qoe = 30, 0.7
        with traffic(engine, qoe=0.7):
            wait_for("what was learned", lambda: _learned(team).get("ceiling"), told=operator.tail)
        for name in SERVICES:
            finish_rollout(team, name)
    learned, children = _learned(team)["ceiling"][1], _children(team)
    marks = ("andante.dev/template-hash-", "andante.dev/engine-spec-hash-")
    team.kubectl("annotate", "deployments", "--all", *marks)

    release.upgrade(tickSeconds=1, image={**IMAGE, "tag": "new"}, rolloutBudget=AT_ONCE)
    rolled: set[str] = set()
    with plane.operator(tmp_path) as operator:
        while len(rolled) < len(SERVICES):
            wait_for("a turn", lambda: _begun(team) - rolled, told=operator.tail)
            ticks = operator.metric("andante_operator_ticks_total")
            wait_for("ticks", lambda ticks=ticks: operator.metric("andante_operator_ticks_total") >= ticks + 2)
            for name in sorted(_begun(team) - rolled):
                finish_rollout(team, name)
                rolled.add(name)
        for name in SERVICES:
            team.wait_condition("RolledOut", "True", "UpToDate", name=name)
    assert _children(team) == children
    assert _learned(team)["ceiling"][1] == learned
    assert team.replicas("loaded") == 2


def _begun(team: Namespace) -> set[str]:
    """Services whose Deployment has the new operator's pods; never are more of them unfinished than may be."""
    deployments = team.items("deployments")
    new = [d for d in deployments if package_image(d).endswith(":new")]
    assert sum(not is_rolled_out(d) for d in new) <= AT_ONCE
    return {d["metadata"]["name"] for d in new}


def _learned(team: Namespace) -> dict[str, Any]:
    state: dict[str, Any] = team.status("loaded").get("scaling", {}).get("memory", {}).get("state", {})
    return state


def _children(team: Namespace) -> dict[tuple[str, str], str]:
    """The uid of each child, by kind and name."""
    kinds = "serviceaccounts,configmaps,services,poddisruptionbudgets,deployments"
    found = [o for o in team.items(kinds) if "ownerReferences" in o["metadata"]]
    assert {o["kind"] for o in found} >= {"ServiceAccount", "ConfigMap", "Service", "Deployment"}
    return {(o["kind"], o["metadata"]["name"]): o["metadata"]["uid"] for o in found}


def test_helm_does_not_upgrade_the_crd_and_the_documented_command_does(plane: Plane, tmp_path: Path) -> None:
    older = _chart_with_older_crd(plane, tmp_path)
    plane.release.install(older)
    plane.wait_served()
    plane.team.apply()
    assert plane.release.upgrade()
    assert not _knows_pod_template(plane)
    shown = plane.release.helm("show", "crds", str(ROOT)).stdout
    plane.plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=shown)
    assert _knows_pod_template(plane)
    wait_for(
        "the new field to be admitted",
        lambda: "podTemplate" in plane.plane.kubectl("explain", "llmservices.spec.engine").stdout,
    )
    assert plane.team.get("llmservice", "chat") is not None


def test_a_service_of_a_newer_crd_is_reported_and_left_as_it_is(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(tickSeconds=1)
    _serve(plane, tmp_path)
    crd = json.loads(plane.plane.kubectl("get", "crd", CRD, "-o", "json").stdout)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schema["scaling"]["properties"]["mode"]["enum"].append("Clairvoyant")
    plane.plane.kubectl("replace", "-f", "-", stdin=json.dumps(crd))
    newer = json.dumps({"spec": {"scaling": {"mode": "Clairvoyant"}}})
    wait_for(
        "the new value to be admitted",
        lambda: plane.team.kubectl("patch", "lls", "chat", "--type=merge", "-p", newer, check=False),
    )
    before = plane.team.get("deployment", "chat")
    with plane.operator(tmp_path) as operator:
        told = plane.team.wait_condition("SpecValid", "False", "SpecUnreadable")
        assert "spec.scaling.mode" in told, operator.tail()
        assert plane.team.condition("Ready")["status"] == "False"  # as the last operator left it
    assert (plane.team.get("deployment", "chat") or {})["spec"] == (before or {})["spec"]


def test_a_second_installation_for_all_namespaces_is_refused(plane: Plane) -> None:
    plane.release.install()
    second = plane.release.helm("install", "second", str(ROOT), check=False)
    assert second.returncode != 0
    assert "andante-operator" in second.stderr


def _chart_with_older_crd(plane: Plane, folder: Path) -> Path:
    """This chart with the CRD of a time before spec.engine.podTemplate."""
    plane.release.helm("package", str(ROOT), "--destination", str(folder))
    (archive,) = folder.glob("andante-*.tgz")
    subprocess.run(["tar", "xzf", archive.name], cwd=folder, check=True)
    (path,) = (folder / "andante" / "crds").glob("*.yaml")
    crd = yaml.safe_load(path.read_text())
    for version in crd["spec"]["versions"]:
        engine = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["engine"]
        del engine["properties"]["podTemplate"]
        engine.pop("x-kubernetes-validations", None)
    path.write_text(yaml.safe_dump(crd))
    return folder / "andante"


def _knows_pod_template(plane: Plane) -> bool:
    crd = json.loads(plane.plane.kubectl("get", "crd", CRD, "-o", "json").stdout)
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return "podTemplate" in schema["properties"]["spec"]["properties"]["engine"]["properties"]
