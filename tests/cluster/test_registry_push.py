"""Image and chart into a real registry: with TLS by a private authority and a login, and by plain HTTP."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hack import go_programs
from hack.localcluster.binaries import HELM, ensure_binaries
from hack.localcluster.errors import ClusterError
from hack.localcluster.images import TinyImage, write_docker_archive
from hack.localcluster.settings import KUBERNETES_VERSION
from hack.release import publish
from hack.release.chart import package
from hack.release.credentials import Login, docker_config
from hack.release.registry import Registry, parse

from registry_server import PASSWORD, USERNAME, RegistryServer

LOGIN = Login(username=USERNAME, password=PASSWORD, source="the test")
CREATED = 1_700_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path_factory.mktemp("open-registry"), secure=False) as running:
        yield running


@pytest.fixture
def target(server: RegistryServer) -> Registry:
    return parse(f"{server.host}/team", ca=server.ca)


@pytest.fixture(autouse=True)
def no_logins_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "HELM_REGISTRY_CONFIG", "HELM_CONFIG_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("image") / "image.tar"
    write_docker_archive(TinyImage(tag="small:1", texts={"etc/hello": "hello"}), file)
    return file


def test_a_pushed_image_has_the_digest_that_is_printed(server: RegistryServer, target: Registry, archive: Path) -> None:
    reference = publish.push_image(archive, f"{target}/small:1", target, LOGIN)
    assert reference == f"{target}/small@{server.digest('team/small', '1')}"


def test_an_archive_has_that_digest_before_it_is_pushed(
    server: RegistryServer, target: Registry, archive: Path
) -> None:
    """What a release's manifest says of an image that is nowhere yet."""
    publish.push_image(archive, f"{target}/digest:1", target, LOGIN)
    command = [str(go_programs.ensure("crane")), "digest", "--tarball", str(archive)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == server.digest("team/digest", "1")


def test_a_second_push_changes_nothing(target: Registry, archive: Path) -> None:
    first = publish.push_image(archive, f"{target}/again:1", target, LOGIN)
    assert publish.push_image(archive, f"{target}/again:1", target, LOGIN) == first


def test_without_a_login_the_answer_says_how_to_give_one(target: Registry) -> None:
    with pytest.raises(ClusterError, match=r"asks for a login(?s:.*)USERNAME=(?s:.*)helm registry login"):
        publish.checked_login(target, None)


def test_a_wrong_password_is_said_before_anything_is_built(target: Registry) -> None:
    wrong = Login(username=USERNAME, password="wrong", source="the test")
    with pytest.raises(ClusterError, match=f"refuses the login of {USERNAME}") as refused:
        publish.publish(target, login=wrong)
    assert "wrong" not in str(refused.value)


def test_a_certificate_that_nobody_trusts_asks_for_the_authority(server: RegistryServer) -> None:
    with pytest.raises(ClusterError, match=r"not trusted(?s:.*)CA=FILE"):
        publish.checked_login(parse(f"{server.host}/team"), LOGIN)


def test_plain_http_is_refused_without_the_flag(open_server: RegistryServer) -> None:
    with pytest.raises(ClusterError, match=r"does not speak TLS(?s:.*)PLAIN_HTTP=1"):
        publish.checked_login(parse(f"{open_server.host}/team"), None)


def test_plain_http_works_with_the_flag(open_server: RegistryServer, archive: Path) -> None:
    target = parse(f"{open_server.host}/team", plain_http=True)
    assert publish.checked_login(target, None) is None
    reference = publish.push_image(archive, f"{target}/small:1", target, None)
    assert reference.endswith(open_server.digest("team/small", "1"))


def test_a_host_that_does_not_answer_is_named() -> None:
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:9 does not answer"):
        publish.checked_login(parse("127.0.0.1:9/team"), None)


@pytest.mark.parametrize("kept_by", ["docker", "podman"])
def test_a_login_that_another_program_keeps_is_found(
    kept_by: str, target: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"auth": base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()}
    # podman may keep a login for a folder of the registry.
    key, name, variable = {
        "docker": (target.host, "config.json", "DOCKER_CONFIG"),
        "podman": (str(target), "auth.json", "REGISTRY_AUTH_FILE"),
    }[kept_by]
    (tmp_path / name).write_text(json.dumps({"auths": {key: entry}}))
    monkeypatch.setenv(variable, str(tmp_path if kept_by == "docker" else tmp_path / name))
    found = publish.checked_login(target, None)
    assert found is not None
    assert (found.username, found.password) == (USERNAME, PASSWORD)


def test_a_login_in_a_credential_helper_is_found(
    target: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-keeper"
    answer = json.dumps({"Username": USERNAME, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\nread host; [ \"$host\" = {target.host} ] && echo '{answer}'\n")
    helper.chmod(0o755)
    (tmp_path / "config.json").write_text(json.dumps({"auths": {target.host: {}}, "credsStore": "keeper"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = publish.checked_login(target, None)
    assert found is not None
    assert found.source == "docker-credential-keeper"


def test_a_password_stands_on_no_command_line(target: Registry, archive: Path, tmp_path: Path) -> None:
    spy = tmp_path / "crane"
    spy.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/seen\nls -l "$DOCKER_CONFIG"/* >> {tmp_path}/seen\n'
                   f'exec {go_programs.ensure("crane")} "$@"\n')  # fmt: skip
    spy.chmod(0o755)
    publish.push_image(archive, f"{target}/spied:1", target, LOGIN, crane=spy)
    seen = (tmp_path / "seen").read_text()
    assert PASSWORD not in seen
    assert LOGIN.basic not in seen
    assert "-rw-------" in seen


def test_a_login_does_not_print_its_password() -> None:
    assert PASSWORD not in repr(LOGIN)


def test_the_published_chart_installs_that_image_without_values(
    server: RegistryServer, target: Registry, tmp_path: Path
) -> None:
    digest = f"sha256:{'0' * 64}"
    packed = package(tmp_path / "chart", image=f"{target}/andante-operator@{digest}", created=CREATED)
    pushed = publish.push_chart(packed, target, LOGIN)
    helm = str(ensure_binaries(HELM).path("helm"))
    with docker_config(target.host, LOGIN) as folder:
        command = [helm, "template", "andante", f"oci://{target}/charts/andante@{pushed}", "--ca-file", str(server.ca)]
        command += ["--kube-version", KUBERNETES_VERSION]
        command += ["--registry-config", str(folder / "config.json")]
        rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (operator,) = [d for d in yaml.safe_load_all(rendered) if d and d["kind"] == "Deployment"]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{target}/andante-operator@{digest}"


def test_the_chart_has_the_same_bytes_and_the_same_digest_again(target: Registry, tmp_path: Path) -> None:
    first, second = (package(tmp_path / name, image=None, created=CREATED) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert publish.push_chart(first, target, LOGIN) == publish.push_chart(second, target, LOGIN)
