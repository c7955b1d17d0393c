"""Starts long-running processes with a pid file and a log, each in its own session, and stops them by pid.

A pid file also has the process's start time: after a crash or a reboot, another process may have the number, and must
be left alone. Each process also carries a mark, as a pid file may be lost or broken.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import wait_until
from hack.localcluster.statefiles import read_json, write_whole

MARK = "ANDANTE_CLUSTER_STATE"
"""Environment variable of all processes of a cluster and their child processes: the state folder."""
_SERVICE_MARK = "ANDANTE_CLUSTER_SERVICE"
"""Environment variable of a service's process: its name."""


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
        """Start `command` unless it runs already. First stop a process with other arguments, as of an older version.

        With `die_with_parent` the kernel kills the process when the starting thread ends: a killed test run leaves no
        server behind.

        Raises ClusterError when the program is not there.
        """
        if self._runs_with([*map(str, command[1:])]):
            return
        self.stop()
        self._end_unrecorded()
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
            {**(os.environ if env is None else env), MARK: str(self.state), _SERVICE_MARK: self.name},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), append, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _given_descriptors()),
            ],
            setsid=True,
        )
        ticks = start_ticks(pid) or 0
        write_whole(self.pid_file, json.dumps({"pid": pid, "start_ticks": ticks}))

    def handle(self) -> Handle | None:
        """The running process; None when it was never started, has ended, or another process has its pid now."""
        handle = _handle(read_json(self.pid_file))
        if handle is None:
            return None
        with contextlib.suppress(ChildProcessError):  # reap our own child: it is a zombie until then
            os.waitpid(handle.pid, os.WNOHANG)
        return handle if start_ticks(handle.pid) == handle.start_ticks else None

    def alive(self) -> bool:
        return self.handle() is not None

    def forget_if_ended(self) -> None:
        """Remove a stale pid file. It would say that the service ended while we wait for its start."""
        if not self.alive():
            self.pid_file.unlink(missing_ok=True)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process runs."""
        handle = self.handle()
        if handle is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(handle.pid, number)

    def stop(self, *, grace_seconds: float = 10.0) -> None:
        """Send SIGTERM, and SIGKILL after `grace_seconds`. Returns when the process is gone."""
        for number, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
            handle = self.handle()
            if handle is None:
                break
            self.signal(number)
            _wait_for_exit(handle, patience)
        if self.alive():
            raise ClusterError(f"{self.name} does not end after SIGKILL, see {self.log}")
        self.pid_file.unlink(missing_ok=True)

    def _runs_with(self, arguments: Sequence[str]) -> bool:
        """Whether the process runs with `arguments` after its program's name."""
        handle = self.handle()
        if handle is None:
            return False
        try:
            line = Path(f"/proc/{handle.pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return False
        words = [os.fsdecode(word) for word in line.split(b"\0")[:-1]]
        return words[len(words) - len(arguments) :] == list(arguments)  # an interpreter may come first

    def _end_unrecorded(self) -> None:
        """Kill a process whose start was killed before it wrote the pid file: the process has our ports and data."""

        def gone() -> bool:
            left = _processes_with({MARK: str(self.state), _SERVICE_MARK: self.name})
            _kill(left)
            return not left

        wait_until(gone, what=f"an unrecorded {self.name} to end", timeout_seconds=20)

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of the log, for an error message."""
        try:
            text = self.log.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])


def marked(state: Path) -> dict[str, str]:
    """Environment for a command that works on the cluster in `state`. If its caller is killed, `down` ends it."""
    return {**os.environ, MARK: str(state)}


def marked_processes(state: Path) -> set[int]:
    """Pids of live processes that belong to the cluster in `state`, with or without a pid file."""
    return _processes_with({MARK: str(state)})


def kill_marked(state: Path) -> None:
    """Kill every process that belongs to the cluster in `state`."""
    _kill(marked_processes(state))


def _processes_with(variables: Mapping[str, str]) -> set[int]:
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                found.add(int(folder.name))
    return found


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _handle(stored: object) -> Handle | None:
    """The process in a pid file; None where the file names no process."""
    if not isinstance(stored, dict):
        return None
    pid, ticks = stored.get("pid"), stored.get("start_ticks")
    if not (type(pid) is int and type(ticks) is int and 0 < pid < 2**31):  # 0 and less mean groups of processes
        return None
    return Handle(pid=pid, start_ticks=ticks)


def _given_descriptors() -> list[int]:
    """Open files that a service would inherit, without the usual three. It would hold a lock of our caller for ever."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # it belonged to this listing
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def _require_setpriv() -> str:
    path = shutil.which("setpriv")
    if path is None:
        raise ClusterError("setpriv (util-linux) is not there", "apt-get install util-linux")
    return path


def start_ticks(pid: int) -> int | None:
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
