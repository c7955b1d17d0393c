"""The Python that everything here starts with: a clear sentence where it is too old or not there."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hack.localcluster.settings import REPOSITORY


def run(script: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [str(REPOSITORY / "hack" / script), *arguments]
    environment = {**os.environ, **changes}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def python(folder: Path, version: str) -> Path:
    """An interpreter of that version, as far as a check of `sys.version_info` can see."""
    path = folder / "python3"
    major, minor = version.split(".")
    real = shutil.which("python3")
    path.write_text(
        f"#!/bin/sh\nshift\n"
        f'exec {real} -c "import sys; sys.version_info = ({major}, {minor}, 0); exec(sys.argv[1])" "$1"\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", ["setup.sh", "preflight.sh"])
@pytest.mark.parametrize("version", ["3.9", "3.10"])
def test_python_that_is_too_old_is_named_with_what_has_a_newer_one(tmp_path: Path, script: str, version: str) -> None:
    said = run(script, ANDANTE_PYTHON=str(python(tmp_path, version)))
    assert said.returncode == 2
    assert f"is Python {version}, and Andante needs 3.11, 3.12 or 3.13" in said.stderr
    assert "Debian 12 or 13, or Ubuntu 24.04" in said.stderr
    assert "Traceback" not in said.stderr


def test_python_that_is_not_there_is_named_with_the_packages(tmp_path: Path) -> None:
    said = run("setup.sh", ANDANTE_PYTHON=str(tmp_path / "nothing"))
    assert said.returncode == 2
    assert "nothing with the modules venv and ensurepip is missing" in said.stderr
    assert "sudo apt-get install python3 python3-venv python3-pip" in said.stderr


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_python_of_debian_and_ubuntu_is_taken(tmp_path: Path, version: str) -> None:
    assert run("setup.sh", "--python", ANDANTE_PYTHON=str(python(tmp_path, version))).returncode == 0


def test_engine_environment_refuses_a_python_without_a_vllm(tmp_path: Path) -> None:
    said = run("engine_env.sh", ANDANTE_ENGINE_PYTHON=str(python(tmp_path, "3.14")))
    assert said.returncode == 2
    assert "needs Python 3.11, 3.12 or 3.13" in said.stderr
