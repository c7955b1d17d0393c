"""Certificates and keys of one cluster: kept by a second start, and a broken one is named."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from hack.localcluster.errors import ClusterError
from hack.localcluster.pki import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path / "pki")
    start_again(made)
    return made


def start_again(authority: Authority) -> None:
    authority.ensure()
    authority.ensure_service_account_key()
    authority.issue("server", subject="/CN=server", addresses=("127.0.0.1",), dns=("localhost",))


def contents(authority: Authority) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in authority.folder.iterdir()}


def test_second_start_keeps_every_file(authority: Authority) -> None:
    before = contents(authority)
    start_again(authority)
    assert contents(authority) == before
    assert set(before) == {"ca.crt", "ca.key", "server.crt", "server.key", "service-account.key"}


def test_keys_are_the_owners_alone(authority: Authority) -> None:
    assert {path.stat().st_mode & 0o077 for path in authority.folder.glob("*.key")} == {0}


def test_issued_certificate_is_trusted_by_who_trusts_the_authority(authority: Authority) -> None:
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(authority.ca.cert))
    server.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for end in (*ends, *ends):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    subject = ends[0].getpeercert()
    assert subject is not None
    assert subject["subject"] == ((("commonName", "server"),),)


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "server.crt", "server.key"])
@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nMIIB"])
def test_broken_file_is_named_with_what_to_do(authority: Authority, name: str, content: str) -> None:
    (authority.folder / name).write_text(content)
    with pytest.raises(ClusterError, match=name) as refused:
        start_again(authority)
    assert "make cluster-down" in refused.value.remedy


def test_authority_that_is_gone_is_not_made_anew_under_what_it_signed(authority: Authority) -> None:
    authority.ca.cert.unlink()
    with pytest.raises(ClusterError, match=r"ca\.crt is missing"):
        authority.ensure()


def test_two_clusters_share_no_key(tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path / "other")
    other.ensure()
    assert other.ca.key.read_bytes() != authority.ca.key.read_bytes()
