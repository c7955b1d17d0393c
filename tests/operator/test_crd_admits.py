"""What is right is admitted, comes back with its defaults, and the models read it the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.localcluster.api import ControlPlane

from andante.api.v1alpha1 import LLMService
from andante.app.children import render
from andante.app.settings import OperatorSettings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
SETTINGS = OperatorSettings(engine_image="registry.example/vllm:1", operator_image="registry.example/operator:1")

MODEL = {"id": "org/model"}
VALID: Mapping[str, Mapping[str, Any]] = {
    "the least": {"model": MODEL},
    "a preset changed in one value": {"model": MODEL, "qoe": {"classes": [{"name": "reading", "pace": 6}]}},
    "a class with a deadline alone": {"model": MODEL, "qoe": {"classes": [{"name": "tool", "deadline": "20s"}]}},
    "durations of every unit": {
        "model": MODEL,
        "qoe": {
            "classes": [{"name": "x", "expectedTTFT": "1m30.5s", "pace": 3}],
            "objective": {"toleratedDelay": "0s", "window": "6h30m"},
        },
    },
    "a node's folder": {"model": {**MODEL, "source": {"hostPath": {"path": "/srv/models/a"}}}},
    "an image volume": {"model": {**MODEL, "source": {"image": {"reference": "registry.example/m@sha256:0"}}}},
    "manual, at zero": {"model": MODEL, "replicas": 0, "scaling": {"mode": "Manual"}},
    "percentages": {"model": MODEL, "rollout": {"maxSurge": "25%", "maxUnavailable": "0%"}},
    "other GPUs": {"model": MODEL, "engine": {"gpusPerReplica": 8, "resourceName": "amd.com/gpu"}},
    "quantities as numbers and text": {
        "model": MODEL,
        "engine": {"resources": {"requests": {"cpu": 2, "memory": "1.5Gi"}, "limits": {"memory": "8Gi"}}},
    },
    "labels and relabelings": {
        "model": MODEL,
        "monitoring": {
            "labels": {"release": "kube-prometheus-stack", "example.com/team": ""},
            "interval": "1m",
            "histogramBuckets": False,
            "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}],
            "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "vllm:.*_created"}],
        },
    },
    "flags that look owned and are not": {
        "model": MODEL,
        "engine": {"extraArgs": ["--enable-prefix-caching", "--max-num-seqs=32", "--port-range", "-q"]},
    },
    "the largest lists": {
        "model": {**MODEL, "id": "o/" + "m" * 254},
        "engine": {
            "extraArgs": [f"--enable-{i}-{'x' * 490}" for i in range(64)],
            "env": [{"name": f"V{i}_{'X' * 240}", "value": "x" * 1000} for i in range(64)],
            "tolerations": [{"key": f"k{i}"} for i in range(32)],
            "podTemplate": {
                "metadata": {"labels": {f"l{i}": "x" * 63 for i in range(64)}},
                "spec": {
                    "containers": [{"name": f"c{i}", "args": ["x" * 100] * 8} for i in range(32)],
                    "volumes": [{"name": f"v{i}"} for i in range(32)],
                },
            },
        },
        "qoe": {
            "defaultClass": "class-31",
            "classes": [{"name": f"class-{i}", "expectedTTFT": "1h59m59.999s", "pace": 1} for i in range(32)],
        },
        "scaling": {
            "maxReplicas": 1000,
            "schedule": [
                {"name": f"s{i}", "start": "0,1,2,3,4,5 0-23 1-31 1-12 0-6", "duration": "23h", "minReplicas": 9}
                for i in range(32)
            ],
        },
    },
    "a patch that deletes and replaces": {
        "model": MODEL,
        "engine": {
            "podTemplate": {
                "spec": {
                    "topologySpreadConstraints": [{"$patch": "replace"}],
                    "volumes": [{"name": "tmp", "$patch": "delete"}],
                    "containers": [
                        {"name": "engine", "livenessProbe": {"$patch": "delete"}},
                        {"name": "proxy", "command": ["x"]},
                    ],
                    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["hub"]}],
                }
            }
        },
    },
}


def _service(spec: Mapping[str, Any]) -> str:
    return json.dumps(
        {"apiVersion": "andante.dev/v1alpha1", "kind": "LLMService", "metadata": {"name": "right"}, "spec": spec}
    )


def _applied(plane: ControlPlane, text: str, *options: str) -> dict[str, Any]:
    answer = plane.kubectl("apply", "--dry-run=server", "-o", "json", *options, "-f", "-", stdin=text)
    stored: dict[str, Any] = json.loads(answer.stdout)
    return stored


@pytest.mark.parametrize("spec", VALID.values(), ids=VALID.keys())
def test_comes_back_as_the_models_read_it(control_plane: ControlPlane, spec: Mapping[str, Any]) -> None:
    stored = _applied(control_plane, _service(spec))
    # The defaults that the API server filled in are the models' own: reading with or without them gives the same.
    with_defaults = LLMService.parse(stored).spec
    assert with_defaults == LLMService.parse({"metadata": {"name": "right"}, "spec": spec}).spec


@pytest.mark.parametrize("spec", VALID.values(), ids=VALID.keys())
def test_applying_what_came_back_changes_nothing(control_plane: ControlPlane, spec: Mapping[str, Any]) -> None:
    stored = _applied(control_plane, _service(spec))
    again = _applied(control_plane, _service(stored["spec"]))
    assert again["spec"] == stored["spec"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_and_its_children_are_admitted(control_plane: ControlPlane, namespace: str, path: Path) -> None:
    applied = control_plane.kubectl("apply", "-n", namespace, "-o", "json", "-f", str(path))
    service = LLMService.parse(json.loads(applied.stdout))
    children = render(service, settings=SETTINGS, replicas=1)
    answer = control_plane.kubectl(
        "apply", "--server-side", "--field-manager=andante", "--validate=strict", "-n", namespace, "-f", "-",
        stdin=yaml.safe_dump_all(children),
    )  # fmt: skip
    # Pod Security warns on stderr when a pod template is above the namespace's level, which is `restricted`.
    assert "Warning" not in answer.stderr
    assert len(answer.stdout.splitlines()) == len(children)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_applying_the_children_again_changes_nothing(control_plane: ControlPlane, namespace: str, path: Path) -> None:
    applied = control_plane.kubectl("apply", "-n", namespace, "-o", "json", "-f", str(path))
    children = yaml.safe_dump_all(render(LLMService.parse(json.loads(applied.stdout)), settings=SETTINGS, replicas=1))

    def apply() -> list[dict[str, Any]]:
        answer = control_plane.kubectl(
            "apply",
            "--server-side",
            "--field-manager=andante",
            "-n",
            namespace,
            "-o",
            "json",
            "-f",
            "-",
            stdin=children,
        )
        items: list[dict[str, Any]] = json.loads(answer.stdout)["items"]
        # Controllers write status meanwhile; what we apply is the rest.
        return [{**item, "status": None, "metadata": item["metadata"].get("generation")} for item in items]

    assert apply() == apply()


def test_there_are_examples_for_every_kind_of_service() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "llmservice", "chat-one-gpu", "llama-70b-four-gpus", "voice-and-batch", "reasoning",
    }  # fmt: skip


def test_kubectl_explain_teaches(control_plane: ControlPlane) -> None:
    explained = control_plane.kubectl("explain", "lls.spec.qoe.classes").stdout
    assert "preset" in explained
    assert "first visible token" in " ".join(explained.split())


def test_kubectl_get_shows_what_the_status_says(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=_service({"model": MODEL}))
    status = {
        "summary": {"ready": "2/3", "problem": "Degraded:Unschedulable", "budget": "87%"},
        "qoe": {"mean": 0.9712, "goodFraction": 0.9932, "deficit": 0.0011, "smoothGoodput": 512.5,
                "observedAt": (datetime.now(UTC) - timedelta(minutes=3)).isoformat()},
        "scaling": {"pricePerHour": 5, "desired": 3, "reason": "TargetMet"},
    }  # fmt: skip
    patch = json.dumps({"status": status})
    control_plane.kubectl("patch", "lls", "right", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    header, row = control_plane.kubectl("get", "lls", "right", "-n", namespace).stdout.splitlines()
    assert header.split() == ["NAME", "READY", "QOE", "GOOD", "BUDGET", "MEASURED", "PROBLEM", "AGE"]
    assert row.split()[:5] == ["right", "2/3", "0.9712", "0.9932", "87%"]
    assert row.split()[5].startswith("3m")
    assert row.split()[6] == "Degraded:Unschedulable"
    wide = control_plane.kubectl("get", "lls", "right", "-n", namespace, "-o", "wide").stdout.splitlines()
    assert wide[0].split()[8:] == ["DESIRED", "SCALING", "DEFICIT", "GOODPUT", "$/H", "WORST", "ENDPOINT"]
    assert wide[1].split()[8:13] == ["3", "TargetMet", "0.0011", "512.5", "5"]


def test_kubectl_scale_sets_the_replicas_of_manual_mode(control_plane: ControlPlane, namespace: str) -> None:
    text = _service({"model": MODEL, "scaling": {"mode": "Manual"}})
    control_plane.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)
    control_plane.kubectl("scale", "lls", "right", "-n", namespace, "--replicas=3")
    stored = json.loads(control_plane.kubectl("get", "lls", "right", "-n", namespace, "-o", "json").stdout)
    assert LLMService.parse(stored).fixed_replicas == 3


def test_the_present_crd_can_be_applied_over_itself(control_plane: ControlPlane) -> None:
    answer: subprocess.CompletedProcess[str] = control_plane.kubectl(
        "apply", "--server-side", "--dry-run=server", "-f", str(ROOT / "crds")
    )
    assert "serverside-applied" in answer.stdout
