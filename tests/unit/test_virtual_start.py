"""A copy of the API server shares neither its ports nor its signals. Each test forks a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="an engine runs on Linux: the copy reads /proc")

SETUP = """
import asyncio, os, signal, socket
from andante_vllm.virtual_start import leave_to_the_server

os.register_at_fork(after_in_child=leave_to_the_server)

def copy(does):
    pid = os.fork()
    if pid == 0:
        does()
        os._exit(0)
    return pid
"""

PORTS = """
end, answer = os.pipe()
leave = socket.create_server(("127.0.0.1", 0))
pair = socket.socketpair()  # what connects the two processes

def does():
    pair[1].send(b"kept")
    os.read(end, 1)

pid = copy(does)
address = leave.getsockname()
leave.close()
said = pair[0].recv(10)
try:
    socket.create_connection(address, timeout=5)
except ConnectionRefusedError:
    print(said.decode(), "refused")
os.write(answer, b"x")
os.waitpid(pid, 0)
"""

SIGNALS = """
async def main():
    seen = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, seen.append, "told")

    def does():
        signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)

    os.waitpid(copy(does), 0)
    await asyncio.sleep(0.2)
    print(seen)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.2)
    print(seen)

asyncio.run(main())
"""


def _printed(code: str) -> list[str]:
    ended = subprocess.run([sys.executable, "-c", SETUP + code], capture_output=True, text=True, timeout=60, check=True)
    return ended.stdout.splitlines()


def test_a_port_that_the_server_closes_is_closed() -> None:
    assert _printed(PORTS) == ["kept refused"]


def test_a_signal_for_the_copy_is_not_told_to_the_server() -> None:
    assert _printed(SIGNALS) == ["[]", "['told']"]
