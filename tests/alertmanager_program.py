"""Debian's Alertmanager, so that it runs where nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from hack.free_ports import free_ports
from hack.localcluster.progress import wait_until

from debian_programs import Program, program

PACKAGE = "prometheus-alertmanager"
_TEMPLATES = "/usr/share/prometheus/alertmanager"


def alertmanager_program(folder: Path) -> Program:
    """Debian's reads its templates from below /usr; this copy, in `folder`, reads them from the folder it runs in."""
    found = program(PACKAGE)
    content, templates = found.path.read_bytes(), Path(_TEMPLATES)
    if not templates.exists():
        assert _TEMPLATES.encode() in content
        content = content.replace(_TEMPLATES.encode(), b".".ljust(len(_TEMPLATES), b"/"))
        for template in (found.path.parents[2] / _TEMPLATES.lstrip("/")).glob("*.tmpl"):
            shutil.copy(template, folder)
    copied = folder / found.path.name
    copied.write_bytes(content)
    copied.chmod(0o755)
    return Program(copied, found.environment)


@contextmanager
def running(server: Program, folder: Path) -> Iterator[str]:
    """The URL of an Alertmanager with `folder`/alertmanager.yml."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [
        str(server.path), f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/alertmanager",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    log = folder / "alertmanager.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=server.environment, cwd=server.path.parent, stdout=output, stderr=output
        )
        try:
            wait_until(
                lambda: _ready(url),
                what="Alertmanager",
                timeout_seconds=60,
                poll_seconds=0.05,
                still_possible=lambda: log.read_text() if process.poll() is not None else None,
            )
            yield url
        finally:
            process.terminate()
            process.wait()


def _ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/-/ready", timeout=5).status_code == requests.codes.ok
    except requests.RequestException:
        return False
