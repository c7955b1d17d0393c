"""A newcomer's first ten minutes: what the pages tell them to type works and prints what they promise."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest
from hack.install import ROOT

from e2e.documented_commands import Step, missing, steps

PAGE = ROOT / "docs" / "how-to" / "first-ten-minutes.md"
README = ROOT / "README.md"


class Shell:
    """One bash in the repository's root that keeps its variables from step to step."""

    def __init__(self, cluster: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MAKEFLAGS", "MAKELEVEL")}
        self._process = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            env={**environment, "ANDANTE_CLUSTER": cluster},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, commands: str) -> str:
        """All that the commands print."""
        end = f"end-{uuid.uuid4()}"
        assert self._process.stdin
        assert self._process.stdout
        # Braces keep the variables; without a standard input of their own, commands could eat the next ones.
        self._process.stdin.write(f"{{\n{commands}\n}} </dev/null\necho; echo {end}\n")
        self._process.stdin.flush()
        said = []
        for line in self._process.stdout:
            if line.rstrip() == end:
                return "".join(said)
            said.append(line)
        pytest.fail(f"the shell ended: {''.join(said)}")

    def close(self) -> None:
        self._process.communicate(timeout=30)


@pytest.fixture(scope="module")
def shell(cluster: str) -> Iterator[Shell]:
    opened = Shell(cluster)
    yield opened
    opened.close()


@pytest.mark.parametrize("step", steps(PAGE), ids=lambda step: step.heading)
def test_a_step_prints_what_the_page_promises(shell: Shell, step: Step) -> None:
    said = shell.run(step.commands)
    print(said)
    assert missing(step, said) == []


def test_the_readme_s_commands_are_the_page_s_own() -> None:
    """Not run again: those of its first block are on the page, which is run."""
    page = PAGE.read_text(encoding="utf-8")
    (first, *_) = steps(README)
    lines = [line.split("  #")[0].strip() for line in first.commands.splitlines()]
    assert [line for line in lines if line not in page] == []
