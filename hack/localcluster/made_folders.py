"""Creates the folders on which a node mounts its own file systems, and removes them after the last cluster.

`record` (STATE/NAME/node/made.json) lists the folders that did not exist before the first cluster. The last cluster
removes them if they are empty: a removal while another node runs would also remove that node's mount.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from hack.localcluster.progress import say
from hack.localcluster.statefiles import read_json, write_whole


def remember(record: Path, folders: Sequence[str], *, started: bool) -> None:
    """Record which of `folders` do not exist now, or were created by another cluster.

    After the node has `started`, its folders exist: then the record is not written again, even if it is lost.
    """
    if not started and _read(record, folders) is None:
        made = {path for other in _others(record) for path in _read(other, folders) or ()}
        made |= {path for path in folders if not Path(path).exists()}
        write_whole(record, json.dumps(sorted(made)))


def remove(record: Path, folders: Sequence[str], *, started: bool) -> None:
    """Remove those of `folders` that `record` names, unless another cluster still needs them.

    If the record cannot be read, nothing is removed; if the node had `started`, a message says so.
    """
    made, others = _read(record, folders), _others(record)
    if made is None:
        in_doubt = [path for path in folders if started and _is_empty(path)]
        if in_doubt:
            say(f"{record} is missing or broken, so these empty folders stay: {', '.join(in_doubt)} (rmdir them)")
    elif others:
        for other in others:
            if _read(other, folders) is None:  # its record is broken, and ours has the same content
                write_whole(other, json.dumps(made))
    else:
        for path in made:
            with contextlib.suppress(OSError):  # another process uses the folder now
                Path(path).rmdir()
    record.unlink(missing_ok=True)


def _read(record: Path, folders: Sequence[str]) -> list[str] | None:
    """Those of `folders` that `record` names. None where it cannot be read, or names other folders."""
    document = read_json(record)
    if not isinstance(document, list) or not all(path in folders for path in document):
        return None
    return document


def _others(record: Path) -> list[Path]:
    """The record files of the other clusters."""
    return [path for path in sorted(record.parents[2].glob(f"*/node/{record.name}")) if path != record]


def _is_empty(folder: str) -> bool:
    try:
        return not any(Path(folder).iterdir())
    except OSError:
        return False
