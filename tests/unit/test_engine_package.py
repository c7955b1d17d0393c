"""The engine package that an init container copies: whole, runnable in an image that has never heard of Andante."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from andante.domain.compiled_folder import compiled_folder
from andante.domain.scheduling import lengths
from andante.engine_package import main

CONFIG = {"model": {"id": "tiny", "source": "synthetic", "servedName": "tiny"}}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    assert main([str(folder)]) == 0
    return folder


def serve(package: Path, *, image_packages: Path, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    """`andante-engine serve --print-command`, as in an image whose own PYTHONPATH is `image_packages`."""
    config = package.parent / "engine.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    return subprocess.run(
        [sys.executable, str(package / "engine"), "serve", "--config", str(config), "--print-command"],
        env={"PATH": path, "PYTHONPATH": str(image_packages), "ANDANTE_ENGINE_CACHE": str(package.parent / "cache")},
        capture_output=True, text=True, check=False, cwd=package.parent,
    )  # fmt: skip


def _vllm(folder: Path, code: str = "") -> Path:
    (folder / "vllm").mkdir(parents=True)
    (folder / "vllm" / "__init__.py").write_text(code)
    return folder


def test_the_copy_serves_without_any_other_andante(package: Path, tmp_path: Path) -> None:
    # Neither this tree nor an installed Andante.
    probe = (
        "import sys; sys.path = [p for p in sys.path if 'operator' not in p and 'engine_image' not in p];"
        f"sys.argv = ['engine', 'serve', '--help']; sys.path.insert(0, {str(package / 'packages')!r});"
        "import andante_vllm.cli, andante; print(andante.__file__); andante_vllm.cli.main(['serve', '--help'])"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ran.stdout.startswith(str(package / "packages")), ran.stderr
    assert "engine.yaml" in ran.stdout


def test_it_is_pure_python_and_small(package: Path) -> None:
    files = [path for path in package.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".py", ".yaml", ".md", ".typed", ""}
    assert sum(path.stat().st_size for path in files) < 640 * 1024
    assert not (package / "packages" / "andante" / "app").exists()


def test_the_copy_uses_the_machine_code_of_the_sources_it_was_made_of(package: Path) -> None:
    code = (
        "from pathlib import Path; from andante.domain.compiled_folder import compiled_folder;"
        "from andante.domain.scheduling import lengths;"
        "print(compiled_folder(Path(lengths.__file__), compiler='1', chosen='/kept'))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(package / "packages")},
        capture_output=True, text=True, check=True, cwd=package.parent,
    )  # fmt: skip
    assert shown.stdout.strip() == str(compiled_folder(Path(lengths.__file__), compiler="1", chosen="/kept"))


def test_a_second_copy_replaces_the_first(package: Path) -> None:
    stale = package / "packages" / "andante" / "stale.py"
    stale.touch()
    assert main([str(package)]) == 0
    assert not stale.exists()


def test_an_image_with_vllm_starts_the_engine(package: Path, tmp_path: Path) -> None:
    ran = serve(package, image_packages=_vllm(tmp_path / "image"))
    assert ran.returncode == 0, ran.stderr
    assert "vllm serve" in ran.stdout


def test_an_image_without_vllm_is_told_so(package: Path, tmp_path: Path) -> None:
    ran = serve(package, image_packages=tmp_path / "nothing")
    assert ran.returncode == 2
    assert "finds no vLLM" in ran.stderr
    assert "engine.image" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_python_of_the_images_vllm_command_is_taken(package: Path, tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    python = commands / "python-with-vllm"
    python.write_text('#!/bin/sh\necho "ran by the other Python: $1"\n')
    (commands / "vllm").write_text(f"#!{python}\n")
    for script in commands.iterdir():
        script.chmod(0o755)
    ran = serve(package, image_packages=tmp_path / "nothing", path=f"{commands}:{os.defpath}")
    assert ran.stdout.strip() == f"ran by the other Python: {package / 'engine'}"


def test_an_old_python_can_at_least_read_the_entry(package: Path) -> None:
    ast.parse((package / "engine").read_text(), feature_version=(3, 8))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err
