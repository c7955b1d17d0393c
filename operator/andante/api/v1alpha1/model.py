"""Defines spec.model: the model to serve and the source of its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from andante.api.rules import Rule, cel_string, matching, rules
from andante.api.values import APIModel, ObjectName

_HUB_ID = r"^[A-Za-z0-9][-._A-Za-z0-9]*(/[A-Za-z0-9][-._A-Za-z0-9]*)?$"

AbsolutePath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=rules(
            Rule(
                rule="self.startsWith('/') && !self.contains('/../') && !self.endsWith('/..')",
                message="must be an absolute path without '..'",
            )
        ),
    ),
]
PathInVolume = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=rules(
            Rule(
                rule="!self.startsWith('/') && !('..' in self.split('/'))",
                message="must be a path relative to the volume, without a leading '/' and without '..'",
            )
        ),
    ),
]


class HubSource(APIModel):
    """The Hugging Face hub (or a mirror: set HF_ENDPOINT in spec.engine.env)."""


class PVCSource(APIModel):
    """A persistent volume claim of the namespace with the model's files; mounted read-only."""

    claim_name: ObjectName
    """Name of the claim. Replicas on several nodes need ReadOnlyMany or ReadWriteMany."""
    path: PathInVolume = ""
    """Folder with config.json in the volume; empty: the volume's root."""


class HostPathSource(APIModel):
    """A folder of the node, mounted read-only. Pod Security levels `baseline` and `restricted` refuse such pods."""

    path: AbsolutePath
    """Absolute path of the folder with config.json."""


class ImageSource(APIModel):
    """An OCI image that holds the model's files, mounted as a volume.

    Needs a cluster with image volumes (feature gate ImageVolume, and a container runtime that supports them).
    """

    reference: Annotated[str, Field(min_length=1, max_length=512)]
    """Image reference; pin a digest."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the image is pulled."""
    path: PathInVolume = ""
    """Folder with config.json in the image; empty: the image's root."""


class SyntheticSource(APIModel):
    """A tiny model that the engine makes at its start, without network, for tests and demos. Its answers have no
    meaning."""


_KINDS = ("hub", "pvc", "hostPath", "image", "synthetic")


class ModelSource(APIModel):
    """Source of the weights; exactly one."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule=f"[{', '.join(f'has(self.{kind})' for kind in _KINDS)}].filter(given, given).size() == 1",
                message=f"give exactly one source: {', '.join(_KINDS[:-1])} or {_KINDS[-1]}",
            )
        )
    )

    hub: HubSource | None = None
    """Downloaded from the Hugging Face hub into the engine's cache volume."""
    pvc: PVCSource | None = None
    """A persistent volume claim with the files."""
    host_path: HostPathSource | None = None
    """A folder of the node. Needs the chart value allowHostPath. Not possible under Pod Security `baseline`
    or `restricted`."""
    image: ImageSource | None = None
    """An OCI image mounted as a volume."""
    synthetic: SyntheticSource | None = None
    """A tiny synthetic model, for tests and demos."""

    @property
    def is_hub(self) -> bool:
        return self.hub is not None


class SecretKeyRef(APIModel):
    """One key of a Secret in the service's namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            json_schema_extra=matching(r"^[-._a-zA-Z0-9]+$", "must be a key of a Secret: letters, digits and - _ ."),
        ),
    ] = "token"
    """Key inside the Secret."""


class ServedModel(APIModel):
    """The model, under the name that clients use."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="has(self.source.hub) || !has(self.revision)",
                message="only a model of the hub has a revision; remove it, or take source.hub",
                field_path=".revision",
            ),
            Rule(
                rule="has(self.source.hub) || !has(self.tokenSecretRef)",
                message="only source.hub needs a token; remove tokenSecretRef, or take source.hub",
                field_path=".tokenSecretRef",
            ),
            Rule(
                rule=f"!has(self.source.hub) || self.id.matches({cel_string(_HUB_ID)})",
                message="must be a model of the hub such as meta-llama/Llama-3.1-8B-Instruct;"
                " for files of your own use source.pvc, source.image or source.hostPath",
                field_path=".id",
            ),
        )
    )

    id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=256,
            json_schema_extra=matching(r"^[!-~]+$", "must be the model's name: printable characters without spaces"),
        ),
    ]
    """The model's id on the hub, such as meta-llama/Llama-3.1-8B-Instruct. For other sources: a name for people."""
    revision: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=128,
                json_schema_extra=matching(
                    r"^[A-Za-z0-9][-._/A-Za-z0-9]*$", "must be a commit, branch or tag of the model's repository"
                ),
            ),
        ]
        | None
    ) = None
    """Commit of the model's repository on the hub. Set one: otherwise a restart may serve other weights."""
    source: ModelSource = ModelSource(hub=HubSource())
    """Source of the weights; exactly one of hub (the default), pvc, hostPath, image, synthetic."""
    token_secret_ref: SecretKeyRef | None = None
    """Hugging Face token for gated and private models. The engine gets it as the variable HF_TOKEN, never as a file."""
    served_name: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=253,
                json_schema_extra=matching(
                    r"^[A-Za-z0-9][-._:/A-Za-z0-9]*$",
                    "must be a model name for clients: letters, digits and - . _ : /, starting with a letter or digit",
                ),
            ),
        ]
        | None
    ) = None
    """Name for `model` in requests, and for the metrics' label model_name. Default: the service's name."""
    max_model_len: Annotated[int, Field(ge=16, le=16_777_216)] | None = None
    """Most tokens of prompt and answer together. Default: the model's own limit; a lower limit saves KV cache."""
