"""Makes the rules of a service's promise: a PrometheusRule, or a ConfigMap with the same as a file of Prometheus."""

from __future__ import annotations

from typing import Any, Final

from andante import __version__
from andante.api.v1alpha1 import LLMService
from andante.app.children.config_map import CONFIG_MAP
from andante.app.children.names import Manifest, RenderInput, alerts_config_map_name, manifest, monitoring_labels
from andante.app.children.rules_yaml import rules_yaml
from andante.app.kinds import ObjectKind
from andante.domain.slo.rules import Group, rule_file, service_groups

PROMETHEUS_RULE: Final = ObjectKind(
    kind="PrometheusRule",
    group="monitoring.coreos.com",
    version="v1",
    plural="prometheusrules",
    crd="prometheusrules.monitoring.coreos.com",
    metadata_only=True,
    purpose="The alerts of the promise, where the CRD of the Prometheus Operator is installed.",
)
RULES_FILE: Final = "rules.yaml"


def promise_rules(service: LLMService, *, runbook_url: str) -> tuple[Group, ...]:
    """The rule groups of a service. `runbook_url`: an address with {alert} and {version} in it, or empty."""
    return service_groups(
        namespace=service.namespace,
        name=service.name,
        promise=service.spec.qoe.objective.promise,
        classes=[c.to_domain() for c in service.spec.qoe.classes],
        runbook_url=runbook_url.replace("{version}", __version__),
    )


def prometheus_rule(given: RenderInput) -> Manifest | None:
    """None where spec.monitoring.prometheusRule is off, or the promise has no alerts."""
    rules = _rules(given)
    labels = monitoring_labels(given)
    return rules and manifest(given.service, kind=PROMETHEUS_RULE, labelled=labels, body={"spec": rules})


def alerts_config_map(given: RenderInput) -> Manifest | None:
    """The same for a Prometheus without an operator of its own; None where the cluster has the kind PrometheusRule."""
    rules = None if PROMETHEUS_RULE.crd in given.installed_crds else _rules(given)
    name = alerts_config_map_name(given.service)
    return rules and manifest(
        given.service,
        kind=CONFIG_MAP,
        name=name,
        labelled=monitoring_labels(given),
        body={"data": {RULES_FILE: rules_yaml(rules)}},
    )


def _rules(given: RenderInput) -> dict[str, Any] | None:
    if not given.service.spec.monitoring.prometheus_rule:
        return None
    groups = promise_rules(given.service, runbook_url=given.settings.monitoring.runbook_url)
    return rule_file(groups) if groups else None
