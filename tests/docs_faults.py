"""Fails with one line a fault: file, line, the name, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hack.docs.markdown import Fault


def expect_none(faults: Iterable[Fault]) -> None:
    found = [str(fault) for fault in faults]
    if found:
        pytest.fail("\n".join([f"{len(found)} faults (`python -m hack.docs` lists all):", *found]), pytrace=False)
