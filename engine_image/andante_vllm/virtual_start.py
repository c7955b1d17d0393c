"""Starts the engine core of a virtual GPU as a copy of the API server, which has imported vLLM already.

On a processor vLLM starts a new interpreter, because a fork does not carry over the threads that compute. A virtual GPU
computes nothing, and a second import of vLLM takes 15 s of a core. The copy lets go of what it must not share.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any, Final

METHOD_VARIABLE: Final = "VLLM_WORKER_MULTIPROC_METHOD"
_DESCRIPTORS = Path("/proc/self/fd")


def keep_start_method() -> None:
    """Make vLLM's platform for processors keep the start method `fork`, if the environment names it; it would ask for
    `spawn`.

    It changes `CpuPlatform` for this process. Call it before vLLM makes its configuration.
    """
    method = os.environ.get(METHOD_VARIABLE)
    if method != "fork" or not _DESCRIPTORS.is_dir():
        return
    from vllm.platforms.cpu import CpuPlatform

    update = CpuPlatform.check_and_update_config

    def keep(vllm_config: Any) -> None:
        update(vllm_config)
        os.environ[METHOD_VARIABLE] = method

    CpuPlatform.check_and_update_config = staticmethod(keep)
    os.register_at_fork(after_in_child=leave_to_the_server)


def leave_to_the_server() -> None:
    """In a copy of the API server: let go of its network sockets and of its event loop's signals, or end the copy."""
    try:
        # A signal for the copy would be told to the server's event loop, too.
        signal.set_wakeup_fd(-1)
        _close_network_sockets()
    except (OSError, ValueError):  # in a fork's callback, Python would print the error and go on with the copy
        logging.getLogger(__name__).exception("a copy of the API server could not let go of its sockets")
        os._exit(1)


def _close_network_sockets() -> None:
    # A port stays open as long as one process holds its socket: clients of a server that drains or has died would
    # connect and wait. The descriptor is replaced, as an object of the copy may close this number later.
    nothing = os.open(os.devnull, os.O_RDWR)
    for opened in list(_DESCRIPTORS.iterdir()):
        descriptor = int(opened.name)
        with contextlib.suppress(OSError):  # no socket, or the descriptor of the list itself
            if _is_on_a_network(descriptor):
                os.dup2(nothing, descriptor)
    os.close(nothing)


def _is_on_a_network(descriptor: int) -> bool:
    opened = socket.socket(fileno=descriptor)
    opened.detach()
    return opened.family in (socket.AF_INET, socket.AF_INET6)
