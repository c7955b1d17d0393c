"""The lines that `make publish` ends with: what a person pastes to install what was published."""

from __future__ import annotations

from pathlib import Path

from hack.release.publish import Published, install_lines
from hack.release.registry import Registry

DIGEST = f"sha256:{'a' * 64}"


def lines(*, login: bool = False, ca: Path | None = None, plain_http: bool = False) -> str:
    registry = Registry(host="registry.example.com", path="team", ca=ca, plain_http=plain_http)
    chart = f"oci://{registry}/charts/andante@{DIGEST}"
    image = f"{registry}/andante-operator@{DIGEST}"
    return install_lines(Published(registry=registry, image=image, chart=chart, chart_version="1.0.0", login=login))


def test_without_a_login_it_is_one_command_by_digest() -> None:
    said = lines()
    assert said.startswith(f"helm install andante oci://registry.example.com/team/charts/andante@{DIGEST} ")
    assert "secret" not in said


def test_with_a_login_the_secret_comes_first_and_no_password_is_asked_for_on_a_command_line() -> None:
    said = lines(login=True)
    assert said.index("create secret") < said.index("helm install")
    assert "global.imagePullSecrets[0].name=registry" in said
    assert "password" not in said.lower()


def test_helm_is_told_of_the_authority_and_of_plain_http() -> None:
    assert lines(ca=Path("/pki/ca.pem"), login=True).count("--ca-file /pki/ca.pem") == 2
    assert lines(plain_http=True, login=True).count("--plain-http") == 2
