"""Makes the rule file of the operator's chart: the rules that every Prometheus needs once."""

from __future__ import annotations

from andante.app.children.rules_yaml import rules_yaml
from andante.domain.slo.rules import generic_groups, rule_file

_HEAD = "# Generated from andante.domain.slo by `make generate`; a test compares. Do not edit.\n"


def generic_rules() -> str:
    """The rules; the chart's template adds the address of the runbooks."""
    return _HEAD + rules_yaml(rule_file(generic_groups()))
