"""What the native node's containerd is told about a registry of its own kind."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hack.localcluster import cli, registries
from hack.localcluster.errors import ClusterError
from hack.localcluster.pki import Authority

HOST = "registry.example.com:5000"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    made = Authority(tmp_path / "pki")
    made.ensure()
    return made.ca.cert


def test_a_private_authority_is_copied_and_trusted_for_that_registry_only(tmp_path: Path, authority: Path) -> None:
    state = tmp_path / "state"
    registries.write(state, authorities={HOST: authority})
    (written,) = (state / "registries").iterdir()
    assert written.name == HOST
    settings = tomllib.loads((written / "hosts.toml").read_text())
    assert settings["server"] == f"https://{HOST}"
    ca = Path(settings["host"][f"https://{HOST}"]["ca"])
    assert ca.is_relative_to(state)
    assert ca.read_bytes() == authority.read_bytes()


def test_plain_http_is_for_that_registry_only(tmp_path: Path) -> None:
    registries.write(tmp_path, authorities={}, plain_http=(HOST,))
    settings = tomllib.loads((tmp_path / "registries" / HOST / "hosts.toml").read_text())
    assert settings == {"server": f"http://{HOST}", "host": {f"http://{HOST}": {"capabilities": ["pull", "resolve"]}}}


@pytest.mark.parametrize("host", ["https://registry.example.com", "registry.example.com/team", "../etc", ""])
def test_what_is_no_host_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(ClusterError, match="HOST"):
        registries.write(tmp_path, authorities={}, plain_http=(host,))
    assert not (tmp_path / "registries").exists()


def test_a_file_without_a_certificate_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(ClusterError, match="no certificate"):
        registries.write(tmp_path, authorities={HOST: tmp_path / "ca.pem"})
    assert not (tmp_path / "registries").exists()


def test_another_kind_of_cluster_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ANDANTE_STATE", str(tmp_path / "state"))
    status = cli.main(["up", "--name", "x", "--backend", "control-plane", "--registry-http", HOST])
    assert status == 1
    assert "for the native node" in capsys.readouterr().err
