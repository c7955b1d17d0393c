"""Makes the operator chart's rights to the children of services, from the table of kinds."""

from __future__ import annotations

from andante.app.children import APPLIED

_HEAD = "{{- /* Generated from the table in andante.app.children by `make generate`; a test compares. Do not edit. */}}"


def child_rules() -> str:
    """The template `andante-operator.childRules`: the rules of a Role, one for each kind of child."""
    lines = [_HEAD, '{{- define "andante-operator.childRules" -}}']
    for kind in APPLIED:
        group = kind.group or '""'
        lines += [
            f"# {kind.purpose}",
            f"- apiGroups: [{group}]",
            f"  resources: [{kind.plural}]",
            "  verbs: [get, list, watch, create, patch, delete]",
        ]
    return "\n".join([*lines, "{{- end }}", ""])
