"""Runs the documented commands that need no cluster: blocks with `<!-- run by: tests/golden/test_docs_commands.py -->`.

A ```text block right behind such a block is what the commands print, `...` standing for anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hack.docs import blocks, manifests, markdown
from hack.docs.markdown import ROOT, Block

from e2e.documented_commands import Step, missing

THIS = "tests/golden/test_docs_commands.py"
BLOCKS = [(page, block) for page in markdown.pages() for block in blocks.run_by(THIS, page)]
VALUES = [block for page in markdown.pages() for block in manifests.values_of(page)]


@pytest.fixture(scope="session")
def helm() -> str:
    command = [sys.executable, "-m", "hack.localcluster", "binaries", "helm"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[0]


def _place(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize(("page", "block"), BLOCKS, ids=[_place(block) for _, block in BLOCKS])
def test_a_documented_command_does_what_the_page_promises(page: markdown.Page, block: Block, helm: str) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), str(Path(helm).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text.replace("\n$ ", "\n").removeprefix("$ ")],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{_place(block)}: {done.stdout}"
    promised = markdown.output_of(page, block)
    assert missing(Step(page.path, block.text, promised), done.stdout) == [], (
        f"{_place(block)}: it printed {done.stdout}"
    )


@pytest.mark.parametrize("block", VALUES, ids=_place)
def test_the_chart_takes_documented_values(block: Block, helm: str, tmp_path: Path) -> None:
    """The placeholders of a page (HOST, INSIDE, REGISTRY, `sha256:...`) are filled in first."""
    text = markdown.filled_in(block.text)
    (tmp_path / "values.yaml").write_text(text)
    command = [helm, "template", "andante", ".", "--kube-version", "1.34.0", "--namespace", "andante-system"]
    image = ["--set", "andante-operator.image.repository=registry.example.com/andante-operator"]
    done = subprocess.run(
        [*command, *image, "--values", str(tmp_path / "values.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{_place(block)}: {done.stderr}\n{text}"
