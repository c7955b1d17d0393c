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
        restore_forwarding(records[name], changed=True, setting=setting)
    assert setting.read_text() == before


@pytest.mark.parametrize("damage", ["", "{", "null", '{"ip_forward": null}', '{"ip_forward": "yes"}'])
def test_what_was_before_is_not_guessed_where_the_record_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    setting, record = tmp_path / "ip_forward", tmp_path / "state" / "a" / "ip_forward.json"
    setting.write_text("1\n")
    record.parent.mkdir(parents=True)
    record.write_text(damage)
    forward_packets(record, setting=setting)
    restore_forwarding(record, changed=True, setting=setting)
    assert setting.read_text() == "1"
    assert "whether this machine forwarded packets before is not known" in capsys.readouterr().err


def test_start_after_the_record_was_lost_does_not_take_its_own_change_for_the_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setting, record = tmp_path / "ip_forward", tmp_path / "state" / "a" / "ip_forward.json"
    setting.write_text("1\n")
    record.parent.mkdir(parents=True)
    forward_packets(record, changed=True, setting=setting)
    restore_forwarding(record, changed=True, setting=setting)
    assert "is not known" in capsys.readouterr().err


def test_cluster_that_goes_hands_on_what_another_one_has_lost(tmp_path: Path) -> None:
    setting = tmp_path / "ip_forward"
    setting.write_text("0\n")
    ours, theirs = (tmp_path / "state" / name / "ip_forward.json" for name in ("a", "b"))
    for record in (ours, theirs):
        record.parent.mkdir(parents=True)
        forward_packets(record, setting=setting)
    theirs.write_text("")
    restore_forwarding(ours, changed=True, setting=setting)
    restore_forwarding(theirs, changed=True, setting=setting)
    assert setting.read_text() == "0"
