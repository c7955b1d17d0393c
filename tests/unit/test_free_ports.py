"""Ports for servers: free, never given twice by a process, and none that an outgoing connection could take."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hack import free_ports as module
from hack.free_ports import FIRST, LAST, free_ports


def test_no_outgoing_connection_can_take_them() -> None:
    assert all(FIRST <= port <= LAST for port in free_ports(50))
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if told.exists():
        assert int(told.read_text().split()[0]) > LAST


def test_a_process_gets_each_port_once_also_from_several_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = [port for ports in pool.map(free_ports, [5] * 40) for port in ports]
    assert len(set(found)) == len(found) == 200


def test_a_port_that_is_taken_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = free_ports(1)
    with socket.create_server(("127.0.0.1", first)):
        monkeypatch.setattr(module, "_steps", iter(range(first - FIRST, first - FIRST + 5)))
        assert first not in free_ports(1)


def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAST", FIRST + 3)
    with pytest.raises(OSError, match="no 9 free ports"):
        free_ports(9)
