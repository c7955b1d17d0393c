"""Starts the native cluster with all its files, links, rules and processes in half a second, and can kill the start.

The programs are scripts that only sleep, and who asks whether they are ready is told yes: what is under test is what a
start leaves behind, and there it is the real one. `python -m tests.cluster.quick_start NAME FOLDER FIRST EVERY` kills
it at its step FIRST and every EVERY-th after that, and says what happened after each, as lines of JSON.
"""

from __future__ import annotations

import builtins
import io
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from hack.localcluster import cli, images
from hack.localcluster.binaries import CONTROL_PLANE, NODE, Binaries
from hack.localcluster.control_plane import ControlPlaneProcesses
from hack.localcluster.native import NativeCluster
from hack.localcluster.progress import wait_until
from hack.localcluster.settings import state_root
from tests.cluster.machine import picture

_SLEEPS = "#!/bin/sh\nsleep 600 &\nwait\n"
_LISTENS = '#!/bin/sh\ntouch "$(dirname "$2")/../../containerd.sock"\nsleep 600 &\nwait\n'
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "subprocess.Popen", "os.posix_spawn"}


_GOES_ON = ("in the middle of", "before os.rename")  # where a start goes on, before everything is taken away


@dataclass(frozen=True, slots=True)
class Killed:
    """One start that was killed at `step` (`what`), and the output and the remains of the command after it."""

    step: int
    what: str
    after: str
    exit_status: int
    said: str
    left: str


def programs(folder: Path) -> Binaries:
    """Substitutes for all programs that a start runs."""
    paths = {}
    for name in (*CONTROL_PLANE, *NODE):
        paths[name] = folder / name
        if not paths[name].exists():
            paths[name].write_text(_LISTENS if name == "containerd" else _SLEEPS)
            paths[name].chmod(0o755)
    return Binaries(paths)


def up(name: str, folder: Path) -> None:
    """Do the work of `up --backend native --name NAME` with `programs`. Raises ClusterError."""
    cluster = NativeCluster(name=name, state=state_root() / name)

    def node_wrote_its_files(_cluster: NativeCluster, *_: object) -> None:
        socket = cluster.containerd_socket
        wait_until(socket.exists, what="the node's files", timeout_seconds=30, poll_seconds=0.01)

    with (
        mock.patch.object(ControlPlaneProcesses, "_get", return_value=200),
        mock.patch.object(images, "containerd_answers", return_value=True),
        mock.patch.object(images, "ensure_pause_image"),
        mock.patch.object(NativeCluster, "_wait_for_node", node_wrote_its_files),
    ):
        cluster.up(programs(folder))


def kill_at(step: int, say: int) -> None:
    """SIGKILL this process at the `step`-th change that it makes to files, folders and processes: once a file is open
    for writing and still empty, in the middle of a write, before a rename, a removal, a new folder, a new process.
    `say`: descriptor that gets its name."""
    left = step
    plain_write = os.write

    def reached(what: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            plain_write(say, what.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            reached(f"before {event} {arguments[0]}")

    def opened(call: Callable[..., Any], writes: Callable[..., bool]) -> Callable[..., Any]:
        def wrapped(*positional: Any, **named: Any) -> Any:
            result = call(*positional, **named)
            if writes(*positional, **named):
                reached(f"after opening {positional[0]}")
            return result

        return wrapped

    def write(descriptor: int, content: bytes) -> int:
        half = len(content) // 2
        written = plain_write(descriptor, content[:half])
        reached("in the middle of a write")
        return written + plain_write(descriptor, content[half:])

    def by_mode(_file: object, mode: str = "r", *_: object, **__: object) -> bool:
        return bool(set(mode) & set("wax+"))

    def by_flags(_path: object, flags: int, *_: object, **__: object) -> bool:
        return bool(flags & _WRITING)

    sys.addaudithook(audit)
    opened_text = opened(io.open, by_mode)
    for module, name, replacement in (
        (os, "write", write),
        (os, "open", opened(os.open, by_flags)),
        (io, "open", opened_text),
        (builtins, "open", opened_text),
    ):
        mock.patch.object(module, name, replacement).start()


def in_child(work: Callable[[], object], output: Path) -> int:
    """Exit status of `work` in a forked process (negative: killed by that signal); stderr goes to `output`."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            returned = work()
            status = returned if isinstance(returned, int) else 0
        except Exception:  # noqa: BLE001 - whatever it is, the parent reads it
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(name: str, folder: Path, first: int, every: int) -> None:
    output = folder / "output"
    programs(folder)

    def down() -> int:
        return cli.main(["down", "--name", name])

    for step in itertools.count(first, every):
        before = picture(name)
        reader, writer = os.pipe()

        def killed_start(step: int = step, writer: int = writer) -> None:
            kill_at(step, writer)
            up(name, folder)

        status = in_child(killed_start, output)
        os.close(writer)
        what = os.read(reader, 4096).decode()
        os.close(reader)
        if status != -signal.SIGKILL:
            assert status == 0, output.read_text()
            in_child(down, output)
            return
        commands: dict[str, Callable[[], object]] = {"down": down}
        if what.startswith(_GOES_ON):
            commands = {"up": lambda: up(name, folder), **commands}
        for after, command in commands.items():
            status = in_child(command, output)
            now = picture(name)
            left = "" if after == "up" else before.difference(now)
            print(json.dumps(asdict(Killed(step, what, after, status, output.read_text(), left))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
