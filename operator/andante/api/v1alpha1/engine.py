"""Defines spec.engine: how one replica runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field

from andante.api.rules import PATTERN_HINT, Rule, cel_list, cel_map, list_by, matching, rules
from andante.api.v1alpha1.pod_template import MOST_CHARACTERS, PodTemplate
from andante.api.values import APIModel, Duration, FreeObject, ObjectName, Quantity
from andante.engine_config import HANG_SECONDS, OWNED_FLAGS, check_extra_arg

OWNED_ENV: Final[Mapping[str, str]] = {
    "HF_TOKEN": "use spec.model.tokenSecretRef, so that no token stands in the resource",
    "HUGGING_FACE_HUB_TOKEN": "use spec.model.tokenSecretRef, so that no token stands in the resource",
    "PROMETHEUS_MULTIPROC_DIR": "the engine makes and wipes this folder itself",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "Andante chooses how the engine's processes are split",
}
"""Variables that a resource must not set, and why. Names that start with ANDANTE_ also belong to the operator."""

_SORTED_FLAGS: Final = sorted(OWNED_FLAGS)


def owned_env_reason(name: str) -> str | None:
    """Why the resource must not set the variable `name`; None when it may."""
    if name.startswith("ANDANTE_"):
        return "names that start with ANDANTE_ belong to the operator"
    return OWNED_ENV.get(name)


# The same test as in engine_config.check_extra_arg, which gives the reasons.
_IS_MEANT: Final = (
    "(size(flag) > (flag.startsWith('--') ? 2 : 1) && owned.startsWith(flag))"
    " || (size(owned) == 2 && flag.startsWith(owned))"
)
_OWNED_FLAG_RULE: Final = (
    "[self.split('=')[0].replace('_', '-')].all(flag, !flag.startsWith('-')"
    f" || !{cel_list(_SORTED_FLAGS)}.exists(owned, {_IS_MEANT}))"
)
_OWNED_FLAG_MESSAGE: Final = (
    "[self.split('=')[0].replace('_', '-')].map(flag, flag + ' is refused: ' + "
    f"{cel_map(OWNED_FLAGS)}[{cel_list(_SORTED_FLAGS)}.filter(owned, {_IS_MEANT})[0]])[0]"
)

ExtraArgument = Annotated[
    str,
    AfterValidator(check_extra_arg),
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=rules(
            Rule(
                rule=_OWNED_FLAG_RULE,
                message="this flag is set by Andante from the LLMService",
                message_expression=_OWNED_FLAG_MESSAGE,
            )
        ),
    ),
]


class KeyReference(APIModel):
    """A key of a Secret or ConfigMap in the service's namespace."""

    name: ObjectName
    """Name of the Secret or ConfigMap."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """Key in the Secret or ConfigMap."""
    optional: bool | None = None
    """True: pods start without the key, and the variable is not set."""


class FieldReference(APIModel):
    """A field of the pod."""

    api_version: Annotated[str, Field(max_length=32)] | None = None
    """Version of the pod's schema. Default: v1."""
    field_path: Annotated[str, Field(min_length=1, max_length=512)]
    """Path, such as metadata.name."""


class ResourceFieldReference(APIModel):
    """A request or limit of a container."""

    container_name: Annotated[str, Field(max_length=63)] | None = None
    """The container. Default: the engine."""
    resource: Annotated[str, Field(min_length=1, max_length=253)]
    """Such as limits.memory."""
    divisor: Quantity | None = None
    """Unit of the value. Default: 1."""


class EnvVarSource(APIModel):
    """Source of a variable's value, as in a pod. Set one of the four."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef),"
                " has(self.resourceFieldRef)].exists_one(given, given)",
                message="give exactly one source: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef",
            )
        )
    )

    secret_key_ref: KeyReference | None = None
    """A key of a Secret. So an author of an LLMService can give any Secret of the namespace to the engine."""
    config_map_key_ref: KeyReference | None = None
    """A key of a ConfigMap."""
    field_ref: FieldReference | None = None
    """A field of the pod."""
    resource_field_ref: ResourceFieldReference | None = None
    """A request or limit of a container."""


class EnvVar(APIModel):
    """One environment variable of the engine, as in a pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!(has(self.value) && has(self.valueFrom))",
                message="give either value or valueFrom, not both",
                field_path=".value",
            )
        )
    )

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=rules(
                Rule(
                    rule="self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                    message="must be a variable's name: letters, digits and '_', not starting with a digit",
                ),
                Rule(
                    rule="!self.startsWith('ANDANTE_')",
                    message="names that start with ANDANTE_ belong to the operator; take another name",
                ),
                *(
                    Rule(rule=f"self != '{name}'", message=f"{name} is the operator's: {reason}")
                    for name, reason in OWNED_ENV.items()
                ),
            )
            | {PATTERN_HINT: r"^[A-Z][A-Z0-9_]{0,20}$"},
        ),
    ]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=8192)] | None = None
    """Value of the variable. For a secret value use valueFrom.secretKeyRef."""
    value_from: EnvVarSource | None = None
    """Source of the value, as in a pod."""


ResourceList = Annotated[
    Mapping[str, Quantity],
    Field(max_length=16),
]


class Resources(APIModel):
    """CPU, memory and further resources of the engine's container. GPUs are asked for with gpusPerReplica."""

    requests: ResourceList | None = None
    """Resources that Kubernetes reserves for a replica."""
    limits: ResourceList | None = None
    """Most that a replica may use."""


class Toleration(APIModel):
    """A taint that the engine's pods tolerate, as in a pod."""

    key: Annotated[str, Field(max_length=316)] | None = None
    """Taint key; empty with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """Exists: any value of the key. Equal (the default): the given value."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """Taint value that Equal compares."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; empty: every effect."""
    toleration_seconds: int | None = None
    """How long a NoExecute taint is tolerated; empty: without limit."""


class LocalObjectReference(APIModel):
    """An object of the service's namespace, by name."""

    name: ObjectName
    """Name of the object."""


class Preemption(APIModel):
    """Whether and how often the scheduler may preempt a running request for a more urgent one."""

    enabled: bool = True
    """False: running requests are not preempted for QoE, as in stock vLLM."""
    max_per_request: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.5
    """Most preemptions per request, on average. With kvOffloadGiB, `qoe` limits the recomputation instead."""
    margin: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    """How many times its time the recomputation after a preemption costs, for `qoe`. Lower: more preemptions, a higher
    mean QoE, and less smooth goodput in deep overload. Default: 1, with kvOffloadGiB 2."""


class Scheduler(APIModel):
    """Which request runs when."""

    policy: Literal["qoe", "andes", "fcfs"] = "qoe"
    """qoe: Andante's scheduler. andes: the paper's scheduler (arXiv 2404.16283), for comparison. fcfs: stock vLLM with
    Andante's measurement."""
    objective: Literal["mean", "maxmin", "perfect"] = "mean"
    """What the scheduler maximises: the mean QoE, the worst QoE, or the number of requests with perfect QoE."""
    preemption: Preemption = Preemption()
    """Limits for the preemption of running requests."""
    ageing_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of the admitted work for the request that has waited longest. With 0, a request may wait until an overload
    ends, and batch requests wait for readers."""
    kv_offload_gib: Annotated[float, Field(ge=0, le=16_384, allow_inf_nan=False)] = 0.0
    """Host memory for KV cache of preempted requests, in GiB per replica; 0: recompute them. Needs a (virtual) GPU.

    Set at least 1.5 times the KV cache of the replica's GPUs: their memory x 0.9 minus the weights. The value is added
    to the pod's default memory request; if you set `resources` yourself, add it there.
    """


class HTTPServer(APIModel):
    """How a replica treats its clients' connections."""

    connection_age: Annotated[float, Duration(minimum="0s", maximum="1d")] = 30.0
    """Age at which a client's connection ends, plus or minus a fifth. The connection ends after its next reply, never
    within a reply. So clients and gateways that keep connections find new replicas. 0s: connections are kept."""
    comment_after_silence: Annotated[float, Duration(minimum="0s", maximum="1d")] = 12.0
    """After this time without data in a stream the server sends a comment (`: waiting`), which clients skip, so that
    gateways do not cut a request that waits. Set it below the gateway's timeout for a silent reply. 0s: no comments."""
    max_body_mib: Annotated[int, Field(ge=1, le=4096)] = 8
    """Largest body of a request, in MiB; above it 413. Raise it where clients send pictures or recordings."""
    max_body_values: Annotated[int, Field(ge=1024, le=2**31)] = 262_144
    """Most values in a request's body; above it 413. A check of many values delays every stream. An item of a list or a
    field counts 1, and an object 48 more; at /v1/responses 5 times as much. Raise the limit if clients send prompts of
    more token ids, or conversations of thousands of messages."""


class VirtualGPU(APIModel):
    """Runs the engine without a GPU: all parts except the matrix products; each step takes a profile's time."""

    profile: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of one of Andante's step-time profiles, such as llama-3-8b-1xa100; another name is refused."""
    time_scale: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = 1.0
    """Factor for the profile's step times; above 1: a slower GPU."""
    kv_capacity_tokens: Annotated[int, Field(ge=64, le=1_000_000_000)] | None = None
    """Size of the KV cache in tokens. Default: the profile's."""
    max_num_seqs: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Most requests in one step. Default: the profile's."""
    max_num_batched_tokens: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """Most tokens in one step. Default: the profile's."""
    async_scheduling: bool = True
    """Plan the next step while the present step runs, as on a real GPU."""


class EmptyDirCache(APIModel):
    """Disk space of the node, deleted with the pod."""

    size_limit: Quantity | None = None
    """Size of the cache at which the pod is evicted; leave room for the weights."""


class PVCCache(APIModel):
    """A persistent volume claim: downloads and compiled kernels survive restarts. Replicas on several nodes need a
    claim that is ReadWriteMany."""

    claim_name: ObjectName
    """Name of the claim."""


class Cache(APIModel):
    """Volume for /var/cache/andante: downloads from the hub, compiled kernels. One of emptyDir and pvc."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="has(self.emptyDir) != has(self.pvc)",
                message="give exactly one kind of cache: emptyDir or pvc",
            )
        )
    )

    empty_dir: EmptyDirCache | None = None
    """Disk space of the node, deleted with the pod."""
    pvc: PVCCache | None = None
    """A persistent volume claim, which survives restarts."""


class Engine(APIModel):
    """How one replica runs."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!has(self.tensorParallelSize)"
                " || self.tensorParallelSize == (self.gpusPerReplica == 0 ? 1 : self.gpusPerReplica)",
                message="tensorParallelSize must equal gpusPerReplica (1 without GPUs): GPUs would idle or"
                " be missing; leave tensorParallelSize out to follow gpusPerReplica",
                field_path=".tensorParallelSize",
            ),
            Rule(
                rule="!has(self.virtualGPU) || self.gpusPerReplica == 0",
                message="virtualGPU stands in for a GPU: set gpusPerReplica to 0, or remove virtualGPU",
                field_path=".gpusPerReplica",
            ),
            Rule(
                rule="self.gpusPerReplica > 0 || has(self.virtualGPU) || self.scheduler.kvOffloadGiB == 0.0",
                message="KV offload needs a GPU: set scheduler.kvOffloadGiB to 0, or gpusPerReplica to 1 or more",
                field_path=".scheduler.kvOffloadGiB",
            ),
            Rule(
                rule="!has(self.resources) || [has(self.resources.requests) ? self.resources.requests : {},"
                " has(self.resources.limits) ? self.resources.limits : {}].all(r, !(self.resourceName in r))",
                message="GPUs are asked for with gpusPerReplica; remove them from resources",
                message_expression="self.resourceName + ' is asked for with gpusPerReplica; remove it from resources'",
                field_path=".resources",
            ),
        )
    )

    image: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=512,
                json_schema_extra=matching(r"^[!-~]+$", "must be an image reference, without spaces"),
            ),
        ]
        | None
    ) = None
    """Image of the engine: any image with vLLM and a python3 that can import vLLM. Default: the chart's engineImage,
    the official vLLM image of the tested version. With another vLLM version the engine serves without the QoE
    scheduler, and the condition EngineCompatible says so."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the engine image is pulled. Default: the chart's engineImagePullPolicy."""
    image_pull_secrets: Annotated[tuple[LocalObjectReference, ...], Field(max_length=16)] = ()
    """Secrets with the registry's credentials, in addition to the chart's global.imagePullSecrets."""
    package_from: Literal["Operator", "Image"] | None = None
    """Source of Andante's engine package (pure Python). Operator: an init container copies the package from the
    operator's image into the pod. Image: the engine image contains the package, as an image built from
    engine_image/Dockerfile does. Default: the chart's enginePackageFrom."""
    gpus_per_replica: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs of one replica, all on one node. 0: no GPU (CPU, or virtualGPU)."""
    resource_name: Annotated[
        str,
        Field(
            min_length=3,
            max_length=128,
            json_schema_extra=matching(
                r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$",
                "must be an extended resource such as nvidia.com/gpu or amd.com/gpu",
            ),
        ),
    ] = "nvidia.com/gpu"
    """Name of the GPU's extended resource."""
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """Number of GPUs over which each layer is split. Must equal gpusPerReplica, which is the default."""
    virtual_gpu: VirtualGPU | None = None
    """Run without a GPU, with the step times of a GPU, for tests and demos. Needs gpusPerReplica 0."""
    scheduler: Scheduler = Scheduler()
    """Which request runs when."""
    http: HTTPServer = HTTPServer()
    """How a replica treats its clients' connections."""
    hang_timeout: Annotated[float, Duration(minimum="0s", maximum="1h")] = HANG_SECONDS
    """A replica whose engine makes no step for so long while requests are open gets no new requests, and a minute later
    the kubelet starts it again. Set it above the longest time that a step takes on your GPU. 0s: never."""
    extra_args: Annotated[tuple[ExtraArgument, ...], Field(max_length=64)] = ()
    """More flags of `vllm serve`, such as --enable-auto-tool-choice. A flag that Andante sets itself is refused."""
    env: Annotated[
        tuple[EnvVar, ...],
        Field(
            max_length=64,
            json_schema_extra={
                **list_by("name"),
                **rules(
                    Rule(
                        rule=f"self.map(v, has(v.value) ? size(v.value) : 0).sum() <= {MOST_CHARACTERS}",
                        message=f"the values hold more than {MOST_CHARACTERS} characters together; keep long texts in a"
                        " ConfigMap and name it in valueFrom.configMapKeyRef",
                    )
                ),
            },
        ),
    ] = ()
    """Environment variables of the engine. Their values have at most 65,536 characters together."""
    resources: Resources | None = None
    """CPU and memory of the engine's container; merged over the operator's defaults."""
    cache: Cache = Cache(empty_dir=EmptyDirCache())
    """The engine's cache folder (hub downloads, compiled kernels). Default: emptyDir."""
    node_selector: Annotated[Mapping[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] | None = None
    """Labels that a node must have, for example to choose the kind of GPU."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints that the pods tolerate. The pods always tolerate the taint with the name of the GPU resource."""
    affinity: FreeObject | None = None
    """Affinity of the pods, as in a pod, at most 65,536 characters of JSON. Default: replicas spread over nodes if
    possible."""
    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, if the GPUs need one."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    pod_template: PodTemplate | None = None
    """Strategic-merge patch over the generated pod template, for everything without a field of its own. It is applied
    last. The engine's container has the name `engine`. Changes of the operator's fields are refused: the engine's
    command, args and ports, its config volume, the selector labels, restartPolicy, terminationGracePeriodSeconds.
    Rights beyond the pod are refused too: another ServiceAccount, its token, a node by name, the node's namespaces,
    privileged containers, host ports, and hostPath unless the chart allows it. At most 65,536 characters of JSON. The
    chart's allowPodTemplate may switch this field off."""

    @property
    def resolved_tensor_parallel_size(self) -> int:
        return self.tensor_parallel_size or max(1, self.gpus_per_replica)
