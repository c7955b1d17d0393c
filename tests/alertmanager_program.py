"""Debian's Alertmanager, so that it runs where nothing is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

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
