"""A problem's message ends with what to do about it, where that is known."""

from __future__ import annotations

import pytest

from andante.app.status.advice import asked_for, with_advice

SCHEDULER = {
    "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: no victims.": "see whether a node offers it",
    "0/3 nodes are available: 3 Insufficient memory.": "ask for less in spec.engine",
    "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.": "spec.engine.nodeSelector",
    "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.": "spec.engine.tolerations",
    "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.": "kubectl describe pvc",
    '0/1 nodes are available: persistentvolumeclaim "models" not found.': "create that claim",
}


@pytest.mark.parametrize("words", SCHEDULER)
def test_what_the_scheduler_says_is_kept_and_answered(words: str) -> None:
    told = with_advice("Unschedulable", words)
    assert told.startswith(words.rstrip("."))
    assert SCHEDULER[words] in told.split("What to do: ")[1]


def test_a_package_that_cannot_be_pulled_is_not_blamed_on_the_engines_image() -> None:
    told = with_advice("ImagePullFailed", "pod x: container andante-package cannot start", container="andante-package")
    assert "global.imagePullSecrets" in told
    assert "spec.engine.image," not in told
    assert "spec.engine.image" in with_advice("ImagePullFailed", "pod x: container engine cannot start")


def test_what_nobody_can_advise_on_stays_as_it_is() -> None:
    assert with_advice("Unschedulable", "0/1 nodes are available: who knows.") == "0/1 nodes are available: who knows."
    assert with_advice("CrashLoop", "exited with 1") == "exited with 1"


def test_what_a_pod_asks_for_is_its_engine_s_requests() -> None:
    engine = {"name": "engine", "resources": {"requests": {"nvidia.com/gpu": "4", "cpu": "1"}}}
    assert asked_for({"spec": {"containers": [{"name": "proxy"}, engine]}}) == "cpu 1, nvidia.com/gpu 4"
    assert asked_for({"spec": {"containers": [{"name": "engine"}]}}) == ""
