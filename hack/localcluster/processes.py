"""Long-running processes with a pid file and a log: started in a session of their own, stopped by pid.

A pid file also holds the process's start time: after a crash or a reboot the number may belong to somebody else, and
that process is then left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.errors import ClusterError

MARK = "ANDANTE_CLUSTER_STATE"
"""Environment variable that every process of a cluster, and what they start, carries: the state folder."""


@dataclass(frozen=True, slots=True)
class Handle:
    """A process that was started: its pid and its start time in clock ticks since boot (/proc/PID/stat, field 22)."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Service:
    """A named process of one cluster, with its pid file and log under `state`."""

    name: str
    state: Path

    @property
    def log(self) -> Path:
        return self.state / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.state / "run" / f"{self.name}.pid"

    def start(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        die_with_parent: bool = False,
    ) -> None:
        """Start `command` unless it runs already. With `die_with_parent` the kernel kills it when the starting
        thread ends (a killed test run leaves no server behind).

        Raises ClusterError when the program is not there.
        """
        if self.alive():
            return
        program = shutil.which(str(command[0]))
        if program is None:
            raise ClusterError(f"{self.name}: {command[0]} is not there", "python3 -m hack.localcluster doctor")
        argv = [program, *map(str, command[1:])]
        if die_with_parent:
            argv = [_require_setpriv(), "--pdeathsig", "KILL", "--", *argv]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.pid_file.parent.mkdir(parents=True, exist_ok=True)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        pid = os.posix_spawn(
            argv[0],
            argv,
            {**(os.environ if env is None else env), MARK: str(self.state)},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        ticks = _start_ticks(pid) or 0
        self.pid_file.write_text(json.dumps({"pid": pid, "start_ticks": ticks}))

    def handle(self) -> Handle | None:
        """The running process, or None when it was never started, has ended, or its pid is somebody else's now."""
        try:
            stored = json.loads(self.pid_file.read_text())
            handle = Handle(pid=int(stored["pid"]), start_ticks=int(stored["start_ticks"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(ChildProcessError):  # an ended child of ours is a zombie until it is waited for
            os.waitpid(handle.pid, os.WNOHANG)
        return handle if _start_ticks(handle.pid) == handle.start_ticks else None

    def alive(self) -> bool:
        return self.handle() is not None

    def forget_if_ended(self) -> None:
        """Without a pid file a service has not been started; a stale one would say that it ended while we wait."""
        if not self.alive():
            self.pid_file.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process runs."""
        handle = self.handle()
        if handle is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(handle.pid, number)

    def stop(self, *, grace_seconds: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `grace_seconds`; returns once the process is gone."""
        for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
            handle = self.handle()
            if handle is None:
                break
            self.signal(number)
            _wait_for_exit(handle, patience)
        if self.alive():
            raise ClusterError(f"{self.name} does not end after SIGKILL, see {self.log}")
        self.pid_file.unlink(missing_ok=True)

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of the log, for an error message."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])


def marked_processes(state: Path) -> set[int]:
    """Pids of live processes that belong to the cluster in `state`, with or without a pid file."""
    wanted = f"{MARK}={state}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def kill_marked(state: Path) -> None:
    """SIGKILL every process that belongs to the cluster in `state`."""
    for pid in marked_processes(state):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _require_setpriv() -> str:
    path = shutil.which("setpriv")
    if path is None:
        raise ClusterError("setpriv (util-linux) is not there", "apt-get install util-linux")
    return path


def _start_ticks(pid: int) -> int | None:
    """Start time of a live process; None for one that has ended (a zombie counts as ended)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name in parentheses may hold spaces
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _wait_for_exit(handle: Handle, timeout_seconds: float) -> None:
    try:
        pidfd = os.pidfd_open(handle.pid)
    except ProcessLookupError:
        return
    try:
        select.select([pidfd], [], [], timeout_seconds)
    finally:
        os.close(pidfd)
