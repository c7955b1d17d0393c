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

from docs_binaries import documented, unknown_flags
from docs_faults import expect_none
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
    image += ["--api-versions", "monitoring.coreos.com/v1/PodMonitor"]
    done = subprocess.run(
        [*command, *image, "--values", str(tmp_path / "values.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{_place(block)}: {done.stderr}\n{text}"


def test_documented_helm_commands_have_flags_that_exist(helm: str) -> None:
    assert len(list(documented("helm"))) > 10
    expect_none(unknown_flags(helm, "helm", common=("--help",)))


def _renders() -> list[tuple[str, tuple[str, ...]]]:
    """Every documented install or upgrade from the source, as what the chart is given by it."""
    found: dict[tuple[str, ...], str] = {}
    for page, line, command in documented("helm"):
        if "." in command.words and {"install", "upgrade"} & set(command.words):
            values = [value for option in ("--set", "--set-string") for value in command.option(option)]
            found.setdefault(tuple(values), f"{page.path}:{line}")
    return [(place, values) for values, place in found.items()]


@pytest.mark.parametrize(("place", "values"), _renders(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_chart_renders_with_the_values_of_a_documented_command(
    place: str, values: tuple[str, ...], helm: str
) -> None:
    """Without a repository the chart is refused; pages that leave it out say that it was given before."""
    image = ["andante-operator.image.repository=registry.example.com/andante-operator"]
    options = [part for value in (*image, *values) for part in ("--set", markdown.filled_in(value))]
    command = [helm, "template", "andante", ".", "--kube-version", "1.34.0", "--namespace", "andante-system", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{place}: {done.stderr}"
