"""Defines what an LLMService may add to its PodMonitor and PrometheusRule: labels, and relabelings of its series.

The author of an LLMService may have no right to PodMonitors. So only actions and labels are free that stay within the
author's own series: a label that begins with two underscores (`__address__`) would send Prometheus anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field

from andante.api.rules import Rule, cel_list, cel_string, matching, rules
from andante.api.v1alpha1.pod_template import OWNED_LABELS, OWNED_PREFIX
from andante.api.values import APIModel

_LABEL_KEY: Final = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_LABEL_VALUE: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"
_ANY_LABEL: Final = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
_SERIES_LABEL: Final = r"^_?[a-zA-Z][a-zA-Z0-9_]*$"

ObjectLabels = Annotated[
    Mapping[
        str,
        Annotated[
            str,
            Field(
                max_length=63,
                json_schema_extra=matching(
                    _LABEL_VALUE, "must be the value of a Kubernetes label: letters, digits, '-', '_' and '.'"
                ),
            ),
        ],
    ],
    Field(
        max_length=16,
        json_schema_extra=rules(
            Rule(
                rule=f"self.all(key, key.matches({cel_string(_LABEL_KEY)}))",
                message="each key must be that of a Kubernetes label: release, or example.com/team",
            ),
            Rule(
                rule=f"!{cel_list(OWNED_LABELS)}.exists(owned, owned in self)"
                f" && !self.exists(key, key.startsWith('{OWNED_PREFIX}'))",
                message=f"the labels {', '.join(OWNED_LABELS[:3])} and all that begin with {OWNED_PREFIX} belong to the"
                " operator; take another key",
            ),
        ),
    ),
]
"""Labels of an object, beside the operator's own."""

SeriesLabel = Annotated[
    str,
    Field(
        max_length=128,
        json_schema_extra=matching(
            _SERIES_LABEL,
            "must be the name of a label of series: letters, digits and '_', and not two '_' at its start",
        ),
    ),
]


class Relabeling(APIModel):
    """One rule that changes labels, or drops series, as in Prometheus' relabel_config."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                rule="!(self.action in ['replace', 'lowercase', 'uppercase', 'hashmod']) || has(self.targetLabel)",
                message="this action needs targetLabel, the label that gets the result",
            ),
            Rule(rule="self.action != 'hashmod' || has(self.modulus)", message="hashmod needs modulus"),
        )
    )

    action: Literal["replace", "keep", "drop", "lowercase", "uppercase", "hashmod", "labeldrop", "labelkeep"] = (
        "replace"
    )
    """What the rule does."""
    source_labels: Annotated[
        tuple[
            Annotated[
                str,
                Field(
                    max_length=256,
                    json_schema_extra=matching(_ANY_LABEL, "must be the name of a label: letters, digits and '_'"),
                ),
            ],
            ...,
        ],
        Field(max_length=16),
    ] = ()
    """Labels whose values are joined and compared with regex."""
    separator: Annotated[str, Field(max_length=16)] | None = None
    """Text between the joined values. Default: a semicolon."""
    regex: Annotated[str, Field(max_length=1024)] | None = None
    """Regular expression (RE2, anchored). Default: any text."""
    target_label: SeriesLabel | None = None
    """Label that gets the result."""
    replacement: Annotated[str, Field(max_length=1024)] | None = None
    """The result; $1 is the first group of regex. Default: $1."""
    modulus: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """For hashmod: number of parts."""
