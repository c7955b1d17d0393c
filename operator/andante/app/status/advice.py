"""Adds one sentence of advice to a problem's message. Pure.

The long form, for each reason, is docs/troubleshooting.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from andante.api.v1alpha1.pod_template import ENGINE_CONTAINER, PACKAGE_CONTAINER
from andante.ports import Object

_ADVICE: Final[Mapping[str, str]] = {
    "ImagePullFailed": "check the image's name and tag (spec.engine.image, or the chart's engineImage), that the node"
    " can reach its registry, and spec.engine.imagePullSecrets if it is private",
    "ContainerConfigError": "create what is missing in the service's namespace, or correct its name in the spec;"
    " the pod then starts by itself",
    "QuotaExceeded": "raise the namespace's ResourceQuota (kubectl describe quota), or ask for less in spec.engine",
    "PodSecurityViolation": "take it out of spec.engine.podTemplate, model.source.hostPath or the chart's"
    " enginePodTemplate; what Andante itself makes meets the level restricted",
    "OutOfMemory": "raise spec.engine.resources.limits.memory",
    "Reasoning": "raise expectedTTFT of the classes that ask this model, or let it think less (its chat template's"
    " switches, or the effort that requests ask for)",
    "LongPrompts": "grant long prompts more time (expectedPrefillRate in spec.qoe.classes), or give a replica more GPUs"
    " (spec.engine.gpusPerReplica)",
    "PaceAboveDecodeSpeed": "lower pace in spec.qoe.classes, or give a replica faster or more GPUs"
    " (spec.engine.gpusPerReplica)",
    "EmptyAnswers": "see what clients ask: stop strings and max_tokens may end answers before they begin",
    "SlowEngine": "see whether something else uses the GPU or the CPU of the pod's node, whether the GPU is throttled"
    " (nvidia-smi -q -d PERFORMANCE), and whether each answer waits for a compilation (the engine's log)",
    "EngineHangs": "see the last lines of its log (kubectl logs, with --previous once it was started again) for Xid,"
    " NCCL or CUDA errors; where it comes back on the same node, cordon that node",
    "InternalError": "see the operator's log; where the message names nothing that you can correct, report it as an"
    " error of Andante",
    "ModelNotFound": "check spec.model.id, revision and source, and that the token of spec.model.tokenSecretRef may"
    " read the model",
}
# By a pattern in the scheduler's message, the most specific first.
_UNSCHEDULABLE: Final[Mapping[str, str]] = {
    r"Insufficient \S+/": "see whether a node offers it (Allocatable in kubectl describe nodes; by a device plugin)"
    " and has enough of it free for a whole replica; without GPUs, try spec.engine.virtualGPU with gpusPerReplica 0",
    "Insufficient ": "free or add a node that has that much for itself, or ask for less in spec.engine",
    "didn't match": "check spec.engine.nodeSelector and affinity against kubectl get nodes --show-labels",
    "untolerated taint": "add the taint to spec.engine.tolerations, or take it off the node",
    "unbound": "see kubectl describe pvc in the service's namespace",
    "persistentvolumeclaim": "create that claim in the service's namespace, or correct its name in the spec",
}


_PACKAGE_IMAGE_PULL: Final = (
    "the engine package comes from the operator's image, and this namespace cannot pull that image: check that the"
    " Secret of the chart's global.imagePullSecrets (or of spec.engine.imagePullSecrets) exists in the service's"
    " namespace"
)


def with_advice(reason: str, message: str, *, container: str = ENGINE_CONTAINER) -> str:
    """`message` with advice, where there is any. container: the pod's container that has the problem."""
    advice = _ADVICE.get(reason)
    if reason == "ImagePullFailed" and container == PACKAGE_CONTAINER:
        advice = _PACKAGE_IMAGE_PULL
    if reason == "Unschedulable":
        advice = next((text for sign, text in _UNSCHEDULABLE.items() if re.search(sign, message)), None)
    return f"{message.rstrip(' .')}. What to do: {advice}" if advice else message


def asked_for(pod: Object) -> str:
    """The engine's requests, as in `cpu 1, memory 4Gi, nvidia.com/gpu 1`; empty where there are none."""
    engines = [c for c in pod["spec"].get("containers") or () if c["name"] == ENGINE_CONTAINER]
    requests = (engines[0].get("resources") or {}).get("requests") or {} if engines else {}
    return ", ".join(f"{name} {amount}" for name, amount in sorted(requests.items()))
