"""State files that are lost or spoiled: `down` still takes everything away, `up` works or says what to do, and no other
cluster is hurt."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hack.localcluster import cli, made_folders, registries
from hack.localcluster.errors import ClusterError
from hack.localcluster.network import IP_FORWARD
from hack.localcluster.settings import state_root
from tests.cluster import quick_start
from tests.cluster.machine import Machine, picture

NAME = f"broken-{os.getpid()}"
OTHER = f"other-{os.getpid()}"
FILES = (
    "cluster.json",
    "run/node.pid",
    "run/etcd.pid",
    "node/made.json",
    "node/node.json",
    "node/go",
    "ip_forward.json",
    "pki/tokens.csv",
    "pki/ca.crt",
    "pki/ca.key",
    "pki/apiserver.crt",
    "pki/etcd/etcd.key",
    "kubeconfig",
)
DAMAGES = {
    "empty": b"",
    "half": b'{"backend": "nat',
    "a list": b'[1, null, "/home"]',
    "other types": b'{"backend": ["native"], "pid": "1", "start_ticks": null, "ip_forward": {}, "block": 7}',
    "other values": b'{"backend": "native", "pid": -1, "start_ticks": 0, "ip_forward": "yes", "block": "10.0.0.0/33"}',
    "not text": b"\xff\xfe\x00{",
}


@pytest.fixture
def before() -> Iterator[Machine]:
    """The machine as it was; whatever a test leaves is taken away."""
    taken = picture(NAME)
    yield taken
    for name in (NAME, OTHER):
        cli.main(["down", "--name", name])
    IP_FORWARD.write_text(taken.kernel_settings[0])


def down(before: Machine, capsys: pytest.CaptureFixture[str], name: str = NAME) -> None:
    """Take the cluster down; what it leaves to the reader, since nobody knows it any more, is done by hand."""
    capsys.readouterr()
    status = cli.main(["down", "--name", name])
    said = capsys.readouterr().err
    assert status == 0, said
    if "net.ipv4.ip_forward stays" in said:
        IP_FORWARD.write_text(before.kernel_settings[0])
    for folders in re.findall(r"these empty folders stay: (.*) \(rmdir them\)", said):
        for folder in set(folders.split(", ")) - before.folders:
            Path(folder).rmdir()


def refused(work: Callable[[], object]) -> ClusterError | None:
    try:
        work()
    except ClusterError as error:
        return error
    return None


@pytest.mark.parametrize("damage", DAMAGES)
def test_down_takes_everything_away_with_every_file_spoiled(
    before: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    quick_start.up(NAME, tmp_path)
    for file in (path for path in (state_root() / NAME).rglob("*") if path.is_file() and path.suffix != ".log"):
        file.write_bytes(DAMAGES[damage])
    down(before, capsys)
    assert before.difference(picture(NAME)) == ""


@pytest.mark.parametrize("file", FILES)
def test_down_takes_everything_away_without_one_file(
    before: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    quick_start.up(NAME, tmp_path)
    (state_root() / NAME / file).unlink()
    down(before, capsys)
    assert before.difference(picture(NAME)) == ""


@pytest.mark.parametrize("file", FILES)
def test_up_with_a_file_spoiled_works_or_says_what_to_do(
    before: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    quick_start.up(NAME, tmp_path)
    (state_root() / NAME / file).write_bytes(b"")
    refusal = refused(lambda: quick_start.up(NAME, tmp_path))
    assert refusal is None or (Path(file).name in refusal.what and "down" in refusal.remedy)
    down(before, capsys)
    assert before.difference(picture(NAME)) == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_spoiled_files_of_another_cluster_do_not_hurt_this_one(
    before: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    theirs = state_root() / OTHER
    for file in ("cluster.json", "ip_forward.json", "node/made.json"):
        (theirs / file).parent.mkdir(parents=True, exist_ok=True)
        (theirs / file).write_bytes(DAMAGES[damage])
    quick_start.up(NAME, tmp_path)
    assert cli.main(["status"]) == 0
    down(before, capsys)
    assert (theirs / "cluster.json").read_bytes() == DAMAGES[damage]
    down(before, capsys, OTHER)
    assert before.difference(picture(NAME)) == ""


def test_file_that_names_a_folder_which_is_not_a_nodes_removes_none(tmp_path: Path) -> None:
    record = tmp_path / "state" / NAME / "node" / "made.json"
    strange, ours = tmp_path / "strange", tmp_path / "ours"
    for folder in (record.parent, strange, ours):
        folder.mkdir(parents=True)
    record.write_text(json.dumps([str(strange), str(ours)]))
    made_folders.remove(record, [str(ours)], started=True)
    assert (strange.exists(), ours.exists()) == (True, True)


def test_folders_stay_until_the_last_cluster_goes(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    records = [tmp_path / "state" / name / "node" / "made.json" for name in ("a", "b")]
    for record in records:
        record.parent.mkdir(parents=True)
        made_folders.remember(record, [str(folder)], started=False)
        folder.mkdir(exist_ok=True)
    made_folders.remove(records[0], [str(folder)], started=True)
    assert folder.exists()
    made_folders.remove(records[1], [str(folder)], started=True)
    assert not folder.exists()


def test_kind_cluster_whose_record_is_lost_is_found_by_its_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    for program, prints in (("docker", "0123456789ab"), ("kind", "")):
        script = tmp_path / "bin" / program
        script.parent.mkdir(exist_ok=True)
        script.write_text(f'#!/bin/sh\necho {program} "$@" >>{log}\necho {prints}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path / "state"))
    (tmp_path / "state" / "lost").mkdir(parents=True)
    (tmp_path / "state" / "lost" / "cluster.json").write_bytes(b"")
    assert cli.main(["down", "--name", "lost"]) == 0
    assert "kind delete cluster --name andante-lost" in log.read_text().splitlines()
    assert not (tmp_path / "state" / "lost").exists()


def test_status_names_a_cluster_whose_record_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path))
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "cluster.json").write_bytes(b"")
    assert cli.main(["status"]) == 0
    words = capsys.readouterr().out.split("\t")
    assert words[:3] == ["lost", "unknown", "its cluster.json is missing or broken: take it down"]


def test_up_without_the_record_of_what_is_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path))
    (tmp_path / NAME / "etcd").mkdir(parents=True)
    with pytest.raises(ClusterError, match=r"addresses of cluster \S+ are not known") as refused:
        quick_start.up(NAME, tmp_path)
    assert refused.value.remedy == f"python3 -m hack.localcluster down --name {NAME}, then up again"
    shutil.rmtree(tmp_path / NAME)


def test_registries_that_were_written_before_a_first_start_do_not_stop_it(
    before: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registries.write(state_root() / NAME, authorities={}, plain_http=("registry.example.com:5000",))
    quick_start.up(NAME, tmp_path)
    down(before, capsys)
    assert before.difference(picture(NAME)) == ""
