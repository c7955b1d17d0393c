"""The patch that lets an engine pod use this machine's vLLM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hack.localcluster.errors import ClusterError
from hack.localcluster.hostmounts import (
    EngineEnvironment,
    engine_values,
    find_engine_environment,
    mounted_folders,
)
from hack.localcluster.settings import REPOSITORY

HERE = EngineEnvironment(Path(sys.prefix))


def test_every_mount_is_read_only_and_has_its_volume() -> None:
    spec = engine_values(HERE)["enginePodTemplate"]["spec"]
    (container,) = spec["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert all(mount["readOnly"] for mount in mounts.values())
    assert {v["name"]: v["hostPath"]["path"] for v in spec["volumes"]} == {n: m["mountPath"] for n, m in mounts.items()}


def test_no_mount_lies_in_another_one() -> None:
    folders = mounted_folders(HERE)
    assert not [(a, b) for a in folders for b in folders if a != b and a.is_relative_to(b)]


def test_python_and_environment_are_covered() -> None:
    folders = mounted_folders(HERE)
    for needed in (Path(sys.prefix), Path(sys.base_prefix).resolve()):
        assert any(needed.is_relative_to(folder) for folder in folders), needed


def test_this_checkout_is_not_shown() -> None:
    if not HERE.folder.is_relative_to(REPOSITORY):
        assert not [folder for folder in mounted_folders(HERE) if folder.is_relative_to(REPOSITORY)]


def test_neither_home_nor_all_of_etc_is_shown() -> None:
    assert not {Path("/"), Path("/etc"), Path.home(), Path("/var"), Path("/root")} & set(mounted_folders(HERE))


def test_output_is_yaml_below_the_key_that_was_asked_for() -> None:
    command = [sys.executable, "-m", "hack.localcluster", "engine-host-mounts", "--engine-env", sys.prefix]
    out = subprocess.run([*command, "--key", "a.b"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert yaml.safe_load(out) == {"a": {"b": json.loads(json.dumps(engine_values(HERE)))}}


def test_environment_that_was_prepared_last_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDANTE_CACHE", str(tmp_path))
    for version, seconds in (("3.11", 20), ("3.12", 30), ("3.13", 10)):
        command = tmp_path / "engine-env" / f"vllm-0.32.0-py{version}" / "bin" / "andante-engine"
        command.parent.mkdir(parents=True)
        command.touch()
        os.utime(command, (seconds, seconds))
    assert find_engine_environment().folder.name == "vllm-0.32.0-py3.12"


def test_folder_without_an_engine_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="make engine-env"):
        find_engine_environment(tmp_path)
