"""Folders of the machine that a node hides behind its own, and that were not there before the first of all clusters.

`record` (STATE/NAME/node/made.json) keeps which those are. The last cluster removes them, where they are empty: taking
one away while another node runs would take that node's file system on it away, too.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from hack.localcluster.progress import say
from hack.localcluster.statefiles import read_json, write_whole


def remember(record: Path, folders: Sequence[str], *, started: bool) -> None:
    """Write down which of `folders` are not there now or were made by another cluster. Once the node has `started`, its
    folders exist: the record stays as it is then, also where it is lost."""
    if not started and _read(record, folders) is None:
        made = {path for other in _others(record) for path in _read(other, folders) or ()}
        made |= {path for path in folders if not Path(path).exists()}
        write_whole(record, json.dumps(sorted(made)))


def remove(record: Path, folders: Sequence[str], *, started: bool) -> None:
    """Remove those of `folders` that `record` names, unless another cluster still needs them. Without a record that
    can be read nothing is removed; where the node had `started`, that is said."""
    made, others = _read(record, folders), _others(record)
    if made is None:
        in_doubt = [path for path in folders if started and _is_empty(path)]
        if in_doubt:
            say(f"{record} is missing or broken, so these empty folders stay: {', '.join(in_doubt)} (rmdir them)")
    elif others:
        for other in others:
            if _read(other, folders) is None:  # we know what they have lost
                write_whole(other, json.dumps(made))
    else:
        for path in made:
            with contextlib.suppress(OSError):  # another process uses it by now
                Path(path).rmdir()
    record.unlink(missing_ok=True)


def _read(record: Path, folders: Sequence[str]) -> list[str] | None:
    """What `record` names: some of `folders`. None where it cannot be read, or names anything else."""
    document = read_json(record)
    if not isinstance(document, list) or not all(path in folders for path in document):
        return None
    return document


def _others(record: Path) -> list[Path]:
    """The records of the other clusters."""
    return [path for path in sorted(record.parents[2].glob(f"*/node/{record.name}")) if path != record]


def _is_empty(folder: str) -> bool:
    try:
        return not any(Path(folder).iterdir())
    except OSError:
        return False
