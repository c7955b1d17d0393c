"""Writes state files whole or not at all, and reads a broken file as None.

A start may be killed at any moment, and a disk may lose the last writes. So this module writes all files that a later
command reads. Where `down` cannot read a file, it uses other marks: the mark on processes, the cgroup, the link's name,
the comment of firewall rules.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from hack.localcluster.errors import ClusterError

SECRET = 0o600
PUBLIC = 0o644


def require_own(folder: Path) -> None:
    """Raise ClusterError where another user could change files in `folder`, as they decide which programs start."""
    found = folder.stat()
    all_write = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, os.geteuid()) or all_write:
        who = "everybody" if all_write else f"another user (uid {found.st_uid})"
        raise ClusterError(
            f"{who} may write to {folder}, and could exchange what a cluster runs",
            "export ANDANTE_STATE=FOLDER, a folder that only you write to",
        )


def write_whole(path: Path, content: str | bytes, *, mode: int = SECRET) -> None:
    """Write `content` to `path`, whose folder exists. The file has `mode` from its first moment.

    A reader sees the old or the new content, whichever process is killed at any moment.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    partial = Path(name)
    try:
        try:
            os.fchmod(descriptor, mode)
            left = content.encode() if isinstance(content, str) else content
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_json(path: Path) -> Any | None:
    """The JSON document in `path`; None where the file is missing or has no whole document."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no fsync for a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
