"""docs/how-to/operator-from-source.md: its commands bring an operator up against an API server, and away again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from hack.free_ports import free_ports

from e2e.documented_commands import missing, steps

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "operator-from-source.md"
MARK = "=== step"


def test_the_commands_of_the_page_do_what_it_promises() -> None:
    documented = [step for step in steps(PAGE) if "andante-system" not in step.commands]
    script = "\n".join(f"echo '{MARK}'\n{step.commands}" for step in documented)
    # A developer may have the page's own cluster up beside this one.
    name = f"from-source-{os.getpid()}"
    script = script.replace("from-source", name)
    for documented_port, port in zip(("18080", "19090"), free_ports(2), strict=True):
        script = script.replace(documented_port, str(port))
    environment = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MAKEFLAGS", "MAKELEVEL")}
    shell = subprocess.Popen(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = shell.communicate(timeout=240)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)  # the operator, where a step failed: the shell's own session
        subprocess.run([sys.executable, "-m", "hack.localcluster", "down", "--name", name], cwd=ROOT, check=True)
    assert shell.returncode == 0, said
    parts = said.split(MARK)[1:]
    assert len(parts) == len(documented), said
    assert [line for step, part in zip(documented, parts, strict=True) for line in missing(step, part)] == [], said
