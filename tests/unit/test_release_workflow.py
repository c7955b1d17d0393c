"""The forge's workflow runs code of others only in the version that was looked at."""

from __future__ import annotations

from hack.release.workflows import FOLDER, unpinned


def test_every_action_of_the_workflows_is_pinned() -> None:
    files = sorted(FOLDER.glob("*.yaml"))
    assert files
    assert [action for file in files for action in unpinned(file.read_text())] == []


def test_an_action_by_tag_is_not_pinned() -> None:
    assert unpinned("steps:\n  - uses: actions/checkout@v5\n") == ["actions/checkout@v5"]
