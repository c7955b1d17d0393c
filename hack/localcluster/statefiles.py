"""State files: written whole or not at all, and read as "nothing known" where they are broken.

A start may be killed at any moment, and a disk may lose what was written last. So every file that a later command
reads is written here, and a reader gets None, never half of a file. What `down` cannot read it finds by the other
evidence: the mark on processes, the cgroup, the link's name, the comment on firewall rules.
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
    """Raise ClusterError where another user could exchange what lies in `folder`: programs are started by it."""
    found = folder.stat()
    all_write = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, os.geteuid()) or all_write:
        who = "everybody" if all_write else f"another user (uid {found.st_uid})"
        raise ClusterError(
            f"{who} may write to {folder}, and could exchange what a cluster runs",
            "export ANDANTE_STATE=FOLDER, a folder that only you write to",
        )


def write_whole(path: Path, content: str | bytes, *, mode: int = SECRET) -> None:
    """Write `content` to `path`, whose folder is there: a reader sees the old content or the new one, whatever is
    killed and whenever. The file has `mode` from its first moment."""
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
    """The document in `path`; None where there is no such file, or no whole JSON in it."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems know no fsync of a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
