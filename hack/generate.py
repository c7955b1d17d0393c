"""Writes the files that are generated from the models and committed (`make generate`). Tests compare them.

It needs the virtual environment's Python, as it imports the operator.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from andante.api.v1alpha1 import LLMService
from andante.app.children import POD_MONITOR, PROMETHEUS_RULE, render
from andante.app.settings import OperatorSettings
from andante.generate.chart_rules import child_rules
from andante.generate.crd import crd_yaml
from andante.generate.generic_rules import generic_rules
from andante.generate.reference import reference
from hack import metrics_reference, runbooks
from hack.dashboards import reference as dashboards_reference
from hack.dashboards.files import dashboards

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
OPTIONAL_CRDS = (POD_MONITOR.crd, PROMETHEUS_RULE.crd)
GOLDEN_CHILDREN = ROOT / "tests" / "golden" / "children"

# A patch like that of a real installation. The golden files show in which order it and the service's patch apply.
SETTINGS = OperatorSettings(
    engine_image="docker.io/vllm/vllm-openai:golden",
    operator_image="andante-operator:golden",
    engine_pod_template={"metadata": {"labels": {"site": "golden"}}},
    operator_namespace="andante-system",
)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # People read engine.yaml inside a ConfigMap: write it as lines, not as one long quoted string.
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def children_yaml(example: Path) -> str:
    """All children of an example, as the operator would apply them, in YAML."""
    manifest = yaml.safe_load(example.read_text(encoding="utf-8"))
    manifest["metadata"] |= {"namespace": "default", "uid": "00000000-0000-0000-0000-000000000000"}
    children = render(LLMService.parse(manifest), settings=SETTINGS, replicas=2, installed_crds=OPTIONAL_CRDS)
    return yaml.dump_all(children, Dumper=_Dumper, sort_keys=False, width=120)


def outputs() -> Mapping[Path, str]:
    """Every generated file with its content."""
    golden = {GOLDEN_CHILDREN / path.name: children_yaml(path) for path in sorted(EXAMPLES.glob("*.yaml"))}
    return {
        ROOT / "crds" / "andante.dev_llmservices.yaml": crd_yaml(),
        ROOT / "docs" / "reference" / "llmservice.md": reference(),
        ROOT / "docs" / "reference" / "metrics.md": metrics_reference.page(),
        ROOT / "charts" / "andante-operator" / "templates" / "_child_rules.tpl": child_rules(),
        ROOT / "charts" / "andante-operator" / "rules" / "generic.yaml": generic_rules(),
        dashboards_reference.PAGE: dashboards_reference.page(),
        **runbooks.packaged(),
        **dashboards(),
        **golden,
    }


def main() -> int:
    """Write the files that differ, and name them."""
    for path, text in outputs().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
