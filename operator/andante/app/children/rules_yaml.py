"""Writes rules as YAML that people read: an expression of several lines stays several lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def rules_yaml(document: Mapping[str, Any]) -> str:
    """The document as YAML. The newest are kept, as the children of a service are rendered several times."""
    return _written(json.dumps(document))


@lru_cache(maxsize=1024)
def _written(document: str) -> str:
    return yaml.dump(json.loads(document), Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
