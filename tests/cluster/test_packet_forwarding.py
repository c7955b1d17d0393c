"""The machine's packet forwarding is as it was once the last of several clusters is gone, whichever goes first."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hack.localcluster.network import forward_packets, restore_forwarding


@pytest.mark.parametrize("before", ["0", "1"])
@pytest.mark.parametrize("order", list(itertools.permutations(["a", "b", "c"])))
def test_setting_comes_back_with_the_last_cluster(tmp_path: Path, before: str, order: tuple[str, ...]) -> None:
    setting = tmp_path / "ip_forward"
    setting.write_text(f"{before}\n")
    records = {name: tmp_path / "state" / name / "ip_forward.json" for name in order}
    for name in ("a", "b", "c"):
        records[name].parent.mkdir(parents=True)
        forward_packets(records[name], setting=setting)
        forward_packets(records[name], setting=setting)
    for name in order:
        assert setting.read_text() == "1"
        restore_forwarding(records[name], setting=setting)
    assert setting.read_text() == before
