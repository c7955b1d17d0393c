"""Reads the registry's name, and checks that we can push to it, before anything is built.

A build takes minutes. A wrong name, an untrusted certificate and a wrong password are reported in the first second,
each with its remedy.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.release.credentials import Login

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_PATH = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_SHAPE = "REGISTRY is HOST[:PORT]/PATH, as in registry.example.com/team"
_HUB = {"docker.io", "index.docker.io", "registry-1.docker.io"}
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A folder in a registry. `ca`: certificate of the authority that signed the registry's, if it is a private one."""

    host: str
    """HOST[:PORT]"""
    path: str
    ca: Path | None = None
    plain_http: bool = False

    def __str__(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def url(self) -> str:
        return f"{'http' if self.plain_http else 'https'}://{self.host}"


def parse(text: str, *, ca: Path | None = None, plain_http: bool = False) -> Registry:
    """The registry that HOST[:PORT]/PATH names. Raises ClusterError that says what is wrong with it."""
    if "://" in text:
        raise ClusterError(f"REGISTRY={text} has a scheme", f"REGISTRY={text.partition('://')[2].strip('/')}")
    host, _, path = text.strip("/").partition("/")
    if not _HOST.fullmatch(host) or ("." not in host and ":" not in host and host != "localhost"):
        raise ClusterError(f"REGISTRY={text}: {host!r} is not a registry's host", _SHAPE)
    if host in _HUB:
        raise ClusterError(
            f"REGISTRY={text}: Docker Hub has no folders, and the chart goes to one", "use another registry"
        )
    if not path:
        raise ClusterError(f"REGISTRY={text} has no path behind the host", _SHAPE)
    if not _PATH.fullmatch(path):
        raise ClusterError(
            f"REGISTRY={text}: the path {path!r} is not allowed", "lower-case letters, digits, '.', '_', '-' and '/'"
        )
    if ca is not None and not ca.is_file():
        raise ClusterError(
            f"CA={ca} is not a file", "CA names the PEM file of the authority that signed the registry's certificate"
        )
    return Registry(host=host, path=path, ca=ca, plain_http=plain_http)


def probe(registry: Registry, login: Login | None, *, repository: str) -> None:
    """Check that the registry answers and accepts `login` for a push to PATH/`repository`. Raises ClusterError."""
    status, challenge = _get(f"{registry.url}/v2/", registry)
    if status == 404:
        raise ClusterError(f"{registry.host} answers, but is not a registry (404 at /v2/)", _SHAPE)
    if status != 401:
        return
    if login is None:
        raise ClusterError(f"{registry.host} asks for a login, and none was found", login_remedy(registry))
    if login.token:
        return  # only the registry's token service can tell more; the push will ask it
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "bearer":
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        scope = f"repository:{registry.path}/{repository}:pull,push"
        query = urllib.parse.urlencode({"service": asked.get("service", ""), "scope": scope})
        status, _ = _get(f"{asked.get('realm', '')}?{query}", registry, login)
    else:
        status, _ = _get(f"{registry.url}/v2/", registry, login)
    if status in {401, 403}:
        who = f"{login.username} (from {login.source})"
        raise ClusterError(f"{registry.host} refuses the login of {who}", login_remedy(registry))


def login_remedy(registry: Registry) -> str:
    """The commands with which a person can give a login."""
    ca = f" --ca-file {registry.ca}" if registry.ca else ""
    return (
        f"make publish REGISTRY={registry} USERNAME=you (asks for the password, or reads it from stdin); "
        f"or once: helm registry login{ca} {registry.host}; docker login and podman login are read too"
    )


@contextlib.contextmanager
def trusted_certificates(registry: Registry) -> Iterator[Path | None]:
    """A file with the system's authorities and the registry's own one; None where the registry has no own one."""
    if registry.ca is None:
        yield None
        return
    system = ssl.get_default_verify_paths().cafile
    parts = [Path(system).read_bytes()] if system and Path(system).is_file() else []
    with tempfile.NamedTemporaryFile(suffix=".pem") as bundle:
        bundle.write(b"\n".join([*parts, registry.ca.read_bytes()]))
        bundle.flush()
        yield Path(bundle.name)


def _get(url: str, registry: Registry, login: Login | None = None) -> tuple[int, str]:
    """HTTP status and challenge of the answer. Raises ClusterError without an answer."""
    request = urllib.request.Request(url)  # noqa: S310
    if login:  # not sent to the target of a redirect
        request.add_unredirected_header("Authorization", f"Basic {login.basic}")
    context = ssl.create_default_context()
    if registry.ca:
        try:
            context.load_verify_locations(cafile=str(registry.ca))
        except (ssl.SSLError, OSError) as error:
            raise ClusterError(f"CA={registry.ca} holds no certificate: {error}", "a PEM file") from error
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=_ANSWER_SECONDS) as reply:
            status: int = reply.status
            return status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("WWW-Authenticate", "")
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise _no_answer(registry, reason) from error


def _no_answer(registry: Registry, reason: object) -> ClusterError:
    host = registry.host
    if isinstance(reason, ssl.SSLCertVerificationError):
        remedy = "CA=FILE with the authority that signed it" if registry.ca is None else "the CA file of this registry"
        return ClusterError(f"the certificate of {host} is not trusted: {reason.verify_message}", remedy)
    if isinstance(reason, ssl.SSLError):
        return ClusterError(
            f"{host} does not speak TLS ({reason.reason or reason})",
            "use a registry with TLS; in a test network PLAIN_HTTP=1, which sends images and password unprotected",
        )
    if isinstance(reason, socket.gaierror):
        return ClusterError(f"the name of {host} is not known here", f"getent hosts {host.partition(':')[0]}")
    if registry.plain_http:
        return ClusterError(f"{host} does not answer by plain HTTP: {reason}", "without PLAIN_HTTP=1, if it has TLS")
    return ClusterError(f"{host} does not answer: {reason}", f"curl {registry.url}/v2/")
