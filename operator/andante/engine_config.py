"""Defines the files from the operator to the engine: `engine.yaml` (a change restarts it) and `qoe.yaml` (read live).

The operator writes both into the service's ConfigMap; `andante-engine serve --config /etc/andante/engine.yaml` reads
engine.yaml once and watches qoe.yaml in the same folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from andante.domain.pace import PRESETS, ClientExpectations, QoEClass

ENGINE_CONFIG_FILE = "engine.yaml"
QOE_SETTINGS_FILE = "qoe.yaml"
ENGINE_PORT = 8000
HANGS = "the engine core hangs"
"""Start of the engine's last log line before the kubelet starts an engine again that makes no step."""
HANG_SECONDS = 60.0
"""Silence of an engine core after which it counts as hung, by default."""
POLICY_FAILED = "policy failed:"
"""Start of the reason of `andante_scheduler_active` after the policy failed or made an invalid plan."""

CLASS_NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
MIN_PACE, MAX_PACE = 0.01, 1000.0
"""Tokens per second that a class or a client may ask for. No user reads one token in 100 s, and a slower pace would
make the scheduler's numbers too large."""
MAX_SECONDS = 86_400.0
"""Longest expected TTFT or deadline that a class or a client may ask for."""
WHOLE, AS_STREAM = "Whole", "AsStream"
"""Values of `unstreamed`: the answer is due as a whole, or is scored as a stream whose tokens all come at the end."""
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]


def _check_pace(value: float) -> float:
    if 0 < value < MIN_PACE:
        raise ValueError(f"must be 0 (batch) or tokens/s from {MIN_PACE:g} to {MAX_PACE:g}, got {value:g}")
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )


class QoEClassSettings(_Strict):
    """One class of users (domain.pace.QoEClass); seconds and tokens per second."""

    name: Annotated[str, Field(pattern=CLASS_NAME_PATTERN)]
    expected_ttft_seconds: Seconds
    pace: Annotated[float, Field(ge=0, le=MAX_PACE, allow_inf_nan=False), AfterValidator(_check_pace)]
    weight: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = 1.0
    expected_prefill_rate: Annotated[float, Field(ge=1, le=1_000_000, allow_inf_nan=False)] | None = None
    deadline_seconds: Annotated[float, Field(ge=0.001, le=MAX_SECONDS, allow_inf_nan=False)] | None = None
    client_expectations: Literal["Ignore", "Relax", "Allow"] = "Relax"

    def to_domain(self) -> QoEClass:
        return QoEClass(
            name=self.name,
            expected_ttft=self.expected_ttft_seconds,
            pace=self.pace,
            weight=self.weight,
            expected_prefill_rate=self.expected_prefill_rate,
            deadline=self.deadline_seconds,
            client_expectations=ClientExpectations(self.client_expectations),
        )

    @classmethod
    def from_domain(cls, qoe_class: QoEClass) -> Self:
        return cls(
            name=qoe_class.name,
            expected_ttft_seconds=qoe_class.expected_ttft,
            pace=qoe_class.pace,
            weight=qoe_class.weight,
            expected_prefill_rate=qoe_class.expected_prefill_rate,
            deadline_seconds=qoe_class.deadline,
            client_expectations=qoe_class.client_expectations.value,
        )


class QoESettings(_Strict):
    """The content of qoe.yaml: the classes, the default class, and the objective that makes a request good."""

    default_class: str = "reading"
    classes: Annotated[tuple[QoEClassSettings, ...], Field(min_length=1, max_length=32)] = (
        QoEClassSettings.from_domain(PRESETS["reading"]),
    )
    objective: Annotated[float, Field(gt=0, le=1)] = 0.95
    """QoE that a request must reach to be good."""
    tolerated_delay_seconds: Seconds = 0.2
    """Mean delay that users do not notice; 0 switches it off."""
    unknown_class: Literal["Default", "Refuse"] = "Default"
    """Handling of a request with an unknown class: count it in the default class, or answer 400."""
    gave_up_after_seconds: Seconds = 2.0
    """A client gave up if it leaves after a longer wait than this with nothing left to read."""
    unstreamed: Annotated[str, Field(min_length=1, max_length=63)] = WHOLE
    """How to score answers that do not stream: `WHOLE`, `AS_STREAM`, or the class for those that name no class."""

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            raise ValueError(f"classes: names must be unique, got {names}")
        if self.default_class not in names:
            raise ValueError(f"defaultClass: no class named {self.default_class!r}; there are {names}")
        if self.unstreamed not in (WHOLE, AS_STREAM, *names):
            raise ValueError(
                f"unstreamed: must be {WHOLE}, {AS_STREAM} or a class; no class named {self.unstreamed!r}; there are"
                f" {names}"
            )
        return self


class ModelConfig(_Strict):
    """The model to serve."""

    id: Annotated[str, Field(min_length=1, max_length=512)]
    """Hugging Face id, or a path inside the pod when `source` is `path`; free text for `synthetic`."""
    revision: str | None = None
    source: Literal["hub", "path", "synthetic"] = "hub"
    """`synthetic`: a tiny model that the engine makes at its start, without network (tests, demos, virtual GPU)."""
    served_name: Annotated[str, Field(min_length=1, max_length=253)]
    max_model_len: Annotated[int, Field(ge=16)] | None = None


class PreemptionConfig(_Strict):
    enabled: bool = True
    max_per_request: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.5
    """Most preemptions per request, on average (Andes v1's P)."""
    margin: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    """How many times its time a preemption's recomputation costs; None: the policy's default."""


class SchedulerConfig(_Strict):
    policy: Literal["qoe", "andes", "fcfs"] = "qoe"
    objective: Literal["mean", "maxmin", "perfect"] = "mean"
    preemption: PreemptionConfig = PreemptionConfig()
    ageing_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the admitted work for the request that has waited longest."""
    kv_offload_gib: Annotated[float, Field(ge=0, le=16_384, allow_inf_nan=False)] = 0.0


class VirtualGPUConfig(_Strict):
    """Runs vLLM without a GPU and without the matrix products; each step takes the time of a profile."""

    profile: Annotated[str, Field(min_length=1)]
    """Name of one of Andante's step-time profiles."""
    time_scale: Annotated[float, Field(ge=0.001, le=1000, allow_inf_nan=False)] = 1.0
    """Factor for the profile's step times (> 1: a slower GPU)."""
    kv_capacity_tokens: Annotated[int, Field(gt=0)] | None = None
    """KV cache size in tokens; the profile's when unset."""
    max_num_seqs: Annotated[int, Field(gt=0)] | None = None
    max_num_batched_tokens: Annotated[int, Field(gt=0)] | None = None
    async_scheduling: bool = True
    draft_acceptance: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.7
    """With speculative decoding: the probability that a draft token is accepted, if those before it were."""


_TOKENIZER_PATHS: Final = frozenset({"/tokenize", "/detokenize"})
_MAX_TOKENIZER_BODY: Final = 128 * 1024
_WEIGHT_FACTORS: Final[Mapping[str, int]] = {
    "/v1/responses": 5,  # vLLM compares each item with two dozen forms: 70 us of the API server's time
    "/v1/audio/transcriptions": 0,  # a recording is not a JSON document
    "/v1/audio/translations": 0,
}
"""For these paths the server writes an answer with a number for each token, in the thread that sends all tokens."""


class HTTPConfig(_Strict):
    """How the engine treats its clients' connections; seconds."""

    connection_age_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)] = 30.0
    """Age at which a connection ends, after its next reply; 0: connections are kept."""
    comment_after_silence_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)] = 12.0
    """Silence in an event stream after which a comment is sent; 0: no comments."""
    max_body_mib: Annotated[int, Field(ge=1, le=4096)] = 8
    """Largest body of a request."""
    max_body_values: Annotated[int, Field(ge=1024, le=2**31)] = 262_144
    """Most values in a request's body: an item or a field counts 1, and an object 48 more; at /v1/responses 5 times as
    much."""
    body_timeout_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """Time in which a request's body must arrive, from the end of the headers."""
    max_head_kib: Annotated[int, Field(ge=8, le=1024)] = 64
    """Largest size of request line and headers together."""
    head_timeout_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 10.0
    """Time in which request line and headers must arrive, from the first byte."""
    send_timeout_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 60.0
    """A client counts as gone if it does not read for this time although there is data to read."""
    send_timeout_draining_seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = 10.0
    """The same while the engine drains."""

    def max_body_bytes(self, path: str) -> int:
        """Largest body of a request for `path`."""
        size = self.max_body_mib * 2**20
        return min(size, _MAX_TOKENIZER_BODY) if path in _TOKENIZER_PATHS else size

    def weight_factor(self, path: str) -> int:
        """Weight of one value in a body for `path`; 0: values are not counted."""
        return _WEIGHT_FACTORS.get(path, 1)


_NODE = "a replica runs on one node; use spec.engine.gpusPerReplica"
_REPLICAS = "use spec.scaling.maxReplicas: Andante scales by whole replicas, each with one engine"
_GATEWAY = "end TLS in a gateway or proxy in front of the Service: probes and scrapes speak plain HTTP"
OWNED_FLAGS: Final[Mapping[str, str]] = {
    "--model": "use spec.model.id",
    "--revision": "use spec.model.revision",
    "--tokenizer": "put the tokenizer into the model's folder",
    "--served-model-name": "use spec.model.servedName",
    "--host": "the engine listens on the pod's address; use spec.networkPolicy to limit who reaches it",
    "--port": "the Service and the probes use port 8000; no field changes it",
    "--uds": "the Service and the probes use port 8000; no field changes it",
    "--max-model-len": "use spec.model.maxModelLen",
    "--tensor-parallel-size": "use spec.engine.gpusPerReplica",
    "-tp": "use spec.engine.gpusPerReplica",
    "--pipeline-parallel-size": _NODE,
    "-pp": _NODE,
    "--data-parallel-size": _REPLICAS,
    "-dp": _REPLICAS,
    "--data-parallel-size-local": _REPLICAS,
    "-dpl": _REPLICAS,
    "--data-parallel-rank": _REPLICAS,
    "-dpn": _REPLICAS,
    "--data-parallel-start-rank": _REPLICAS,
    "-dpr": _REPLICAS,
    "--data-parallel-address": _REPLICAS,
    "-dpa": _REPLICAS,
    "--data-parallel-rpc-port": _REPLICAS,
    "-dpp": _REPLICAS,
    "--data-parallel-backend": _REPLICAS,
    "-dpb": _REPLICAS,
    "--data-parallel-hybrid-lb": _REPLICAS,
    "-dph": _REPLICAS,
    "--data-parallel-external-lb": _REPLICAS,
    "-dpe": _REPLICAS,
    "--data-parallel-multi-port-external-lb": _REPLICAS,
    "-dpm": _REPLICAS,
    "--data-parallel-supervisor-port": _REPLICAS,
    "--no-data-parallel-hybrid-lb": _REPLICAS,
    "--no-data-parallel-external-lb": _REPLICAS,
    "--enable-elastic-ep": _REPLICAS,
    "--no-enable-elastic-ep": _REPLICAS,
    "--elastic-ep-max-dp-size": _REPLICAS,
    "--scheduler-cls": "use spec.engine.scheduler.policy",
    "--scheduling-policy": "use spec.engine.scheduler.policy, and spec.qoe.classes to serve some requests first",
    "--middleware": "the delivery meter must see what the connection gets; put a proxy in front of the Service",
    "--shutdown-timeout": "use spec.rollout.drainTimeout",
    "--config": "write the flags into spec.engine.extraArgs",
    "--distributed-executor-backend": "vLLM chooses it for one node; no field changes it",
    "--kv-offloading-size": "use spec.engine.scheduler.kvOffloadGiB",
    "--api-server-count": "the delivery meter counts in one API server process; use spec.scaling.maxReplicas for more",
    "-asc": "the delivery meter counts in one API server process; use spec.scaling.maxReplicas for more",
    "--grpc": "every replica answers HTTP; no field changes it",
    "--nnodes": _NODE,
    "-n": _NODE,
    "--node-rank": _NODE,
    "-r": _NODE,
    "--root-path": "rewrite the path in a gateway in front of the Service",
    "--disable-log-stats": "Andante needs vLLM's figures; no field changes it",
    "--headless": "every replica answers HTTP; no field changes it",
    "--api-key": "everybody who reads the resource would read the key; keep it in a Secret, and give the variable"
    " VLLM_API_KEY in spec.engine.env with valueFrom.secretKeyRef",
    "--hf-token": "everybody who reads the resource would read the token; use spec.model.tokenSecretRef",
    "--ssl-keyfile": _GATEWAY,
    "--ssl-certfile": _GATEWAY,
}
"""Flags of `vllm serve` that extraArgs must not name, each with what to do instead."""


def check_extra_arg(value: str) -> str:
    """Refuse a flag that the operator sets itself.

    vLLM's parser accepts `_` for `-`, any unambiguous prefix, and a value directly after a flag of one letter.
    Raises ValueError naming the flag and what to use instead.
    """
    flag = value.split("=", 1)[0].replace("_", "-")
    if flag.startswith("-"):
        owned = next((o for o in sorted(OWNED_FLAGS) if _is_meant(o, flag)), None)
        if owned is not None:
            raise ValueError(f"{flag} is refused: {OWNED_FLAGS[owned]}")
    return value


def _is_meant(owned: str, flag: str) -> bool:
    is_prefix = len(flag) > (2 if flag.startswith("--") else 1) and owned.startswith(flag)
    return is_prefix or (len(owned) == 2 and flag.startswith(owned))


class EngineConfig(_Strict):
    """The content of engine.yaml: all settings that the engine reads once, at its start."""

    api_version: Literal["engine.andante.dev/v1alpha1"] = "engine.andante.dev/v1alpha1"
    model: ModelConfig
    tensor_parallel_size: Annotated[int, Field(ge=1, le=64)] = 1
    host: str = "0.0.0.0"  # noqa: S104  the pod's address; the Service and NetworkPolicy bound who reaches it
    port: Annotated[int, Field(ge=1, le=65_535)] = ENGINE_PORT
    shutdown_timeout_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    """How long streams in flight may finish after SIGTERM."""
    hang_timeout_seconds: Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)] = HANG_SECONDS
    """Time without a step of the engine core, while requests are open, after which /health answers 503; 0: never."""
    http: HTTPConfig = HTTPConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    virtual_gpu: VirtualGPUConfig | None = None
    extra_args: tuple[Annotated[str, AfterValidator(check_extra_arg)], ...] = ()
