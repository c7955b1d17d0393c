"""How Prometheus is reached: tokens, tenants, certificates, prefixes. No cause that is told holds a secret."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hack.free_ports import free_ports
from hack.localcluster.pki import Authority

from andante.adapters.prometheus import PrometheusSource
from andante.app.settings import OperatorSettings, PrometheusSettings, SettingsError
from andante.ports import PodAddress, Unread

POD = PodAddress(namespace="team", name="a", ip="10.0.0.1", port=8000)
TOKEN = "the-secret-token"
NO_SERIES = {"status": "success", "data": {"resultType": "vector", "result": []}}


class Asked:
    """What a server answers, and the requests that it got."""

    def __init__(self) -> None:
        self.status, self.body = 200, json.dumps(NO_SERIES)
        self.location = ""
        self.requests: list[tuple[str, dict[str, str]]] = []


@contextmanager
def _server(*, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, Asked]]:
    """A server's address, HOST:PORT, and what it was asked."""
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.requests.append((self.path.partition("?")[0], dict(self.headers)))
            self.send_response(asked.status)
            if asked.location:
                self.send_header("Location", asked.location)
            self.send_header("Content-Length", str(len(asked.body)))
            self.end_headers()
            self.wfile.write(asked.body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that does not trust us is what a test wants

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


def _source(url: str, **settings: Any) -> PrometheusSource:
    access = PrometheusSettings.model_validate(settings)
    return PrometheusSource(url=url, timeout_seconds=5.0, round_seconds=10.0, settings=access)


def _why(source: PrometheusSource) -> str:
    """Why the pod is not measured; a server that was reached has no series of it."""
    (unread,) = asyncio.run(source.read([POD])).values()
    assert isinstance(unread, Unread)
    return unread.why


REACHED = "Prometheus has no series of this pod; is it scraped, with the labels namespace and pod?"


@pytest.mark.parametrize("path", ["", "/", "/prometheus", "/select/0/prometheus/"])
def test_a_path_before_the_api_is_kept(path: str) -> None:
    with _server() as (host, asked):
        assert _why(_source(f"http://{host}{path}")) == REACHED
    assert {path for path, _ in asked.requests} == {f"{path.rstrip('/')}/api/v1/query"}


def test_a_tenant_is_named_in_each_query() -> None:
    with _server() as (host, asked):
        _why(_source(f"http://{host}", headers={"X-Scope-OrgID": "team-a|team-b"}))
    assert [headers["X-Scope-OrgID"] for _, headers in asked.requests] == ["team-a|team-b"]


def test_a_token_is_read_again_for_each_query(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with _server() as (host, asked):
        source = _source(f"http://{host}", bearerTokenFile=str(file))
        for token in ("first-token\n", "second-token"):
            file.write_text(token)
            _why(source)
    assert {headers["Authorization"] for _, headers in asked.requests} == {"Bearer first-token", "Bearer second-token"}


def test_a_user_logs_in_with_a_password(tmp_path: Path) -> None:
    (tmp_path / "user").write_text("andante\n")
    (tmp_path / "password").write_text("ein Passwört\n")
    files = {"usernameFile": str(tmp_path / "user"), "passwordFile": str(tmp_path / "password")}
    with _server() as (host, asked):
        _why(_source(f"http://{host}", **files))
    pair = base64.b64encode("andante:ein Passwört".encode()).decode()
    assert {headers["Authorization"] for _, headers in asked.requests} == {f"Basic {pair}"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("pki"))
    made.ensure()
    return made


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ssl.SSLContext:
    """Of a server that asks for a client's certificate."""
    pair = authority.issue("server", subject="/CN=prometheus", addresses=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.load_verify_locations(authority.ca.cert)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_a_private_authority_and_a_certificate_of_our_own(authority: Authority, tls: ssl.SSLContext) -> None:
    own = authority.issue("operator", subject="/CN=andante")
    pair = {"clientCertificateFile": str(own.cert), "clientKeyFile": str(own.key)}
    with _server(tls=tls) as (host, asked):
        assert _why(_source(f"https://{host}", caFile=str(authority.ca.cert), **pair)) == REACHED
        assert _why(_source(f"https://{host}", insecureSkipVerify=True, **pair)) == REACHED
        untrusted = _why(_source(f"https://{host}", **pair))
        assert untrusted.startswith(f"Prometheus at https://{host}: TLS: ")
        assert "certificate" in untrusted
        assert "Prometheus has no series" not in _why(_source(f"https://{host}", caFile=str(authority.ca.cert)))
    assert len(asked.requests) == 2


def test_nothing_is_sent_to_where_a_redirect_points(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with _server() as (host, asked), _server() as (other, not_asked):
        asked.status, asked.location = 307, f"http://{other}/"
        why = _why(_source(f"http://{host}", headers={"X-Api-Key": "key"}, bearerTokenFile=str(tmp_path / "token")))
    assert "the answer is a redirect" in why
    assert not_asked.requests == []


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (401, "Unauthorized\n", "HTTP 401: Unauthorized"),
        (503, "<html><h1>Bad</h1>\n</html>", "HTTP 503: Bad"),
        (422, '{"status": "error", "errorType": "execution", "error": "query timed out"}', "HTTP 422: query timed out"),
        (404, "", "HTTP 404"),
        (200, "<html>a login page</html>", "the answer is not that of Prometheus' API; is the path right?"),
        (200, '{"status": "success"}', "the answer is not that of Prometheus' API; is the path right?"),
        (200, '{"data": {"result": 3}}', "the answer is not a list of series"),
    ],
)
def test_a_refusal_is_told_in_the_server_s_words(status: int, body: str, cause: str) -> None:
    with _server() as (host, asked):
        asked.status, asked.body = status, body
        assert _why(_source(f"http://{host}/base/")) == f"Prometheus at http://{host}/base: {cause}"


def test_a_server_that_is_not_there_is_told_in_few_words() -> None:
    (port,) = free_ports(1)
    assert _why(_source(f"http://127.0.0.1:{port}")) == f"Prometheus at http://127.0.0.1:{port}: Connection refused"


def test_a_cause_is_told_in_the_same_words_each_time() -> None:
    source = _source("http://prometheus.invalid:9090")
    first = _why(source)
    assert first == _why(source)
    assert "prometheus.invalid" in first
    assert "0x" not in first


@pytest.mark.parametrize(
    ("content", "cause"), [(None, "cannot be read: No such file"), ("", "is not one"), ("a\nb", "is not one line")]
)
def test_a_token_that_cannot_be_used_names_its_file(content: str | None, cause: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    with _server() as (host, asked):
        why = _why(_source(f"http://{host}", bearerTokenFile=str(file)))
    assert f"{file} {cause}" in why
    assert asked.requests == []


def test_a_missing_file_of_authorities_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path}/ca.crt" in _why(_source("https://127.0.0.1:1", caFile=str(tmp_path / "ca.crt")))


def test_no_cause_holds_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "user").write_text("andante")
    (tmp_path / "password").write_text("the-password")
    pair = base64.b64encode(b"andante:the-password").decode()
    by_token = {"bearerTokenFile": str(tmp_path / "token"), "headers": {"X-Api-Key": "the-key"}}
    by_password = {"usernameFile": str(tmp_path / "user"), "passwordFile": str(tmp_path / "password")}
    (port,) = free_ports(1)
    with _server() as (host, asked):
        asked.status, asked.body = 403, f"denied: Bearer {TOKEN} the-key Basic {pair} the-password url-password"
        said = [
            _why(_source(f"http://{host}", **by_token)),
            _why(_source(f"http://{host}", **by_password)),
            _why(_source(f"http://someone:url-password@{host}/x")),
            _why(_source(f"http://someone:url-password@127.0.0.1:{port}/x")),
        ]
        asked.status, asked.body = 200, "no JSON"
        said.append(_why(_source(f"http://someone:url-password@{host}", **by_token)))
    assert "denied: Bearer *** *** Basic" in said[0]
    assert TOKEN not in said[0] + said[4]
    assert "the-key" not in said[0] + said[4]
    assert not any(secret in said[1] for secret in (pair, "the-password"))
    assert not any("url-password" in text for text in said[2:])
    assert caplog.messages == said  # what is logged is what was told


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{passwordFile: /p}", "give both"),
        ("{bearerTokenFile: /t, usernameFile: /u, passwordFile: /p}", "give one of the two"),
        ("{clientCertificateFile: /c}", "give both"),
        ("{insecureSkipVerify: true, caFile: /c}", "give one of the two"),
        ("{token: abc}", "token"),
        ('{headers: {"X Scope": a}}', "headers"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(text: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(f"engineImage: e\noperatorImage: o\nprometheus: {text}\n")
    with pytest.raises(SettingsError, match=problem):
        OperatorSettings.load(path)
