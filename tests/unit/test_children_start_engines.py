"""What the operator writes into engine.yaml, the engine can start from: checked for every example, without vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from andante.api.v1alpha1 import LLMService
from andante.app.children import render
from andante.app.settings import OperatorSettings
from andante.profiles import load_profiles
from andante_vllm.launch import Folders, plan_launch
from andante_vllm.settings import read_engine_config, read_qoe_settings

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_becomes_a_vllm_command_line(example: Path, tmp_path: Path) -> None:
    service = LLMService.parse(yaml.safe_load(example.read_text(encoding="utf-8")))
    children = render(service, settings=OperatorSettings(engine_image="e:1", operator_image="o:1"), replicas=1)
    data = next(child for child in children if child["kind"] == "ConfigMap")["data"]
    for name, text in data.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    config = read_engine_config(tmp_path / "engine.yaml")
    folders = Folders(cache=tmp_path / "cache", metrics=tmp_path / "metrics")
    launch = plan_launch(config, config_path=tmp_path / "engine.yaml", folders=folders, profiles=load_profiles())
    arguments = list(launch.arguments)
    assert arguments[arguments.index("--served-model-name") + 1] == service.served_name
    default = read_qoe_settings(tmp_path / "qoe.yaml").default_class
    assert default == service.spec.qoe.resolved_default_class
