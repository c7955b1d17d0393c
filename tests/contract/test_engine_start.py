"""`andante-engine serve` refuses a bad config with the field named, before vLLM loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.conftest import CONFIG, MODEL, VIRTUAL


def _serve(folder: Path, config: Any, *more: str, qoe: str | None = None) -> subprocess.CompletedProcess[str]:
    path = folder / "engine.yaml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    if qoe is not None:
        (folder / "qoe.yaml").write_text(qoe)
    code = (
        "import sys; from andante_vllm.cli import main; status = main();"
        "print('vllm loaded' if 'vllm' in sys.modules else 'vllm not loaded', file=sys.stderr); sys.exit(status)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "serve", "--config", str(path), *more],
        env={**os.environ, "ANDANTE_ENGINE_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"virtualGpu": {**VIRTUAL, "profile": "abacus"}}, "virtualGpu.profile"),
        ({"virtualGpu": {**VIRTUAL, "kvCapacityTokens": 100}}, "virtualGpu.kvCapacityTokens"),
        ({"virtualGpu": {**VIRTUAL, "timeScale": -1}}, "virtualGpu.timeScale"),
        ({"extraArgs": ["--port", "1"]}, "extraArgs.0"),
        ({"port": 70_000}, "port"),
        ({"modle": MODEL}, "modle"),
        ({"model": {**MODEL, "source": "path", "id": "/nowhere"}}, "model.id"),
        ({"model": {**MODEL, "revision": "main"}}, "model.revision"),
        ({"scheduler": {"kvOffloadGib": 4}, "extraArgs": ["--kv_transfer_config={}"]}, "scheduler.kvOffloadGib"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    ended = _serve(tmp_path, {**CONFIG, **change})
    assert ended.returncode == 2
    assert f"{field}:" in ended.stderr
    assert "vllm not loaded" in ended.stderr


@pytest.mark.parametrize("text", ["", "- a list", "model: {", "\x00"])
def test_what_is_no_config_is_refused(tmp_path: Path, text: str) -> None:
    ended = _serve(tmp_path, text)
    assert ended.returncode == 2
    assert "engine.yaml" in ended.stderr


def test_a_bad_qoe_file_is_refused_at_the_start(tmp_path: Path) -> None:
    ended = _serve(tmp_path, CONFIG, qoe="defaultClass: nobody\n")
    assert ended.returncode == 2
    assert "qoe.yaml" in ended.stderr
    assert "defaultClass" in ended.stderr


def test_the_command_can_be_seen_without_starting_anything(tmp_path: Path) -> None:
    ended = _serve(tmp_path, CONFIG, "--print-command")
    assert ended.returncode == 0
    assert "--scheduler-cls andante_vllm.scheduler.QoEScheduler" in ended.stdout
    assert "HF_HUB_OFFLINE=1" in ended.stdout
    assert not (tmp_path / "cache" / "models").exists()
