"""The chart's life on a real API server: admitted, installed, used, upgraded, uninstalled, and nothing left of it.

There is no kubelet here, so the operator and the hook pods run as processes of the test, under the service accounts and
with the settings and arguments that the chart gives them. The same on a real node: tests/e2e.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.localcluster.api import ControlPlane

from helm_release import OPERATOR, POD_MONITOR_CRD, ROOT, SYSTEM, Release, helm_binary
from operator_pods import container_waits, set_pod_status
from operator_process import Namespace, OperatorProcess, wait_for

RENDERINGS = ROOT / "tests" / "golden" / "chart"
"""What `helm template` makes; tests/golden/test_chart.py sees to it that they are up to date."""
PREVIOUS = Path(__file__).parent / "previous_chart" / "andante-0.2.0.tgz"
CRD = "llmservices.andante.dev"
TEAM = "team"
TRANSIENT = ("events", "leases.coordination.k8s.io", "endpoints", "componentstatuses", "bindings")
"""Kinds whose objects come and go by themselves."""


class Plane:
    """A control plane without our CRD, with one namespace for users and one for the release, both `restricted`."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.release = Release(plane, helm=helm_binary())
        self.team = Namespace(plane, TEAM)
        for namespace in (SYSTEM, TEAM):
            plane.kubectl("create", "namespace", namespace)
            levels = [f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn")]
            plane.kubectl("label", "namespace", namespace, *levels)

    def objects(self) -> set[str]:
        """Every object of the cluster that somebody made, as kind/namespace/name."""
        listed = self.plane.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
        kinds = ",".join(sorted(k for k in listed if k not in TRANSIENT and not k.startswith("events.")))
        found = json.loads(self.plane.kubectl("get", kinds, "-A", "-o", "json").stdout)["items"]
        return {
            f"{o['kind']}/{o['metadata'].get('namespace', '')}/{o['metadata']['name']}"
            for o in found
            # What the API server makes of a CRD by itself stays with it.
            if not (o["kind"] == "APIService" and "andante" in o["metadata"]["name"])
        }

    def wait_served(self) -> None:
        wait_for(
            "the API server to serve llmservices",
            lambda: self.plane.kubectl("explain", "llmservices.spec", check=False).returncode == 0,
        )

    @contextmanager
    def operator(self, folder: Path) -> Iterator[OperatorProcess]:
        process = self.release.operator(folder)
        try:
            yield process.start()
        finally:
            process.stop()

    @contextmanager
    def hook_pods_run(self, folder: Path) -> Iterator[list[str]]:
        """In place of the kubelet: runs each hook pod's command under its service account and reports how it ended.

        Yields the output of the hooks, which grows.
        """
        said: list[str] = []
        over = threading.Event()

        def run() -> None:
            done: set[str] = set()
            while not over.wait(0.2):
                listed = self.plane.kubectl("-n", SYSTEM, "get", "pods", "-o", "json", check=False)
                for pod in json.loads(listed.stdout or '{"items": []}')["items"]:
                    name = pod["metadata"]["name"]
                    is_hook = pod["metadata"]["labels"].get("app.kubernetes.io/name") == "andante-operator-hook"
                    if is_hook and name not in done:
                        done.add(name)
                        said.append(self._run_hook(pod, folder))

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield said
        finally:
            over.set()
            thread.join()

    def _run_hook(self, pod: dict[str, Any], folder: Path) -> str:
        (container,) = pod["spec"]["containers"]
        assert container["command"] == ["python", "-m", "andante.chart_hooks"]
        kubeconfig = self.plane.kubeconfig_for_service_account(SYSTEM, pod["spec"]["serviceAccountName"])
        done = subprocess.run(
            [sys.executable, *container["command"][1:], *container["args"]],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        phase = "Succeeded" if done.returncode == 0 else "Failed"
        patch = json.dumps({"status": {"phase": phase}})
        name = pod["metadata"]["name"]
        self.plane.kubectl("-n", SYSTEM, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)
        return done.stdout + done.stderr


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A control plane of each test's own: what it installs is the whole cluster's."""
    with ControlPlane() as control_plane:
        yield Plane(control_plane)


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
        control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(POD_MONITOR_CRD))
        control_plane.kubectl("wait", "--for=condition=Established", "crd/podmonitors.monitoring.coreos.com")
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


def test_helm_test_sees_an_operator_at_work(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(tickSeconds=1, watchNamespaces=[TEAM])
    plane.wait_served()
    before = plane.objects()
    with plane.operator(tmp_path), plane.hook_pods_run(tmp_path) as said:
        plane.release.helm("test", "andante", "--timeout", "90s")
    assert "ok: the API server refuses a wrong LLMService" in said[0]
    assert f"ok: the operator acted on LLMService {TEAM}/andante-check-" in said[0]
    wait_for("what the check made to be gone", lambda: plane.objects() == before)


def test_helm_test_fails_where_no_operator_acts(plane: Plane, tmp_path: Path) -> None:
    plane.release.install()
    plane.wait_served()
    said = _failed_check(plane, tmp_path)
    assert f"the operator to act on LLMService {TEAM}/andante-check-" in said
    assert plane.team.items("llmservices") == []


def test_helm_test_says_that_the_operator_s_image_cannot_be_pulled(plane: Plane, tmp_path: Path) -> None:
    plane.release.install(image={"repository": "registry.example.com/nowhere"})
    plane.wait_served()
    refused = container_waits("ImagePullBackOff", "manifest unknown", image="registry.example.com/nowhere:0.1.0")
    set_pod_status(Namespace(plane.plane, SYSTEM), _operator_pod(plane), refused)
    said = _failed_check(plane, tmp_path).splitlines()
    assert any(line.startswith("not yet: the node cannot pull registry.example.com/nowhere:0.1.0") for line in said)
    assert "ImagePullBackOff: manifest unknown. What to do: correct global.imageRegistry" in said[-1]


def test_helm_test_says_that_no_node_takes_the_operator_s_pod(plane: Plane, tmp_path: Path) -> None:
    plane.release.install()
    plane.wait_served()
    words = "0/3 nodes are available: 3 node(s) had untolerated taint {gpu: yes}."
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    status = {"phase": "Pending", "conditions": [unschedulable]}
    set_pod_status(Namespace(plane.plane, SYSTEM), _operator_pod(plane), status)
    assert words.rstrip(".") in _failed_check(plane, tmp_path).splitlines()[-1]


def _operator_pod(plane: Plane) -> dict[str, Any]:
    """The pod that the Deployment made; there is no kubelet to run it."""
    system = Namespace(plane.plane, SYSTEM)

    def made() -> dict[str, Any] | None:
        pods = [p for p in system.items("pods") if p["metadata"]["labels"]["app.kubernetes.io/name"] == OPERATOR]
        return pods[0] if pods else None

    pod: dict[str, Any] = wait_for("the operator's pod", made)
    return pod


def _failed_check(plane: Plane, folder: Path) -> str:
    """What the check of `helm test` says when it gives up."""
    arguments = ["check", "--namespace", TEAM, "--operator-namespace", SYSTEM, "--timeout", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "andante.chart_hooks", *arguments],
        env={**os.environ, "KUBECONFIG": str(plane.plane.kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stdout


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
