"""The random faults' check of memory finds a leak, and no warm-up."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.memory import MemoryCheck


def _wrong(weights: Iterable[float]) -> list[str]:
    check = MemoryCheck()
    found = [check.weigh(pid=7, leads=True, mib=mib) for mib in weights]
    return [wrong for wrong in found if wrong]


def test_memory_that_fills_once_is_right() -> None:
    assert _wrong([92.8, 99.5, 103.1, 104.0, 104.3, 105.3, 106.4, 106.1]) == []


def test_memory_that_grows_with_every_group_is_wrong() -> None:
    found = _wrong(93 + 3.0 * group for group in range(12))
    assert found[0] == "114 MiB after 8 groups, 102 after the first 4"
    assert len(found) == 5


def test_each_process_and_each_role_has_its_own_warm_up() -> None:
    check = MemoryCheck()
    for mib in (80.0, 80.0, 80.0, 80.0):
        assert check.weigh(pid=7, leads=False, mib=mib) == ""
    assert check.weigh(pid=7, leads=True, mib=100.0) == ""
    assert check.weigh(pid=8, leads=False, mib=100.0) == ""
    assert check.weigh(pid=7, leads=False, mib=100.0) != ""
