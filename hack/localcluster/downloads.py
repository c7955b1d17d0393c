"""Downloads official programs and checks them against their published SHA-256. Gives up quickly without a network.

A file that does not match its digest is an error. The caller then must not try another source.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
import urllib.error
import urllib.request
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say
from hack.localcluster.settings import go_arch

_ANSWER_SECONDS = 6.0
_KUBERNETES = "https://dl.k8s.io"
_HELM = "https://get.helm.sh"
_KIND = "https://kind.sigs.k8s.io/dl"


def kubernetes(name: str, *, version: str, to: Path) -> bool:
    """Download one Kubernetes program to `to`. $ANDANTE_KUBERNETES_MIRROR replaces the official site.

    Returns False where the site cannot be reached. Raises ClusterError when the digest does not match.
    """
    base = os.environ.get("ANDANTE_KUBERNETES_MIRROR", _KUBERNETES).rstrip("/")
    url = f"{base}/{version}/bin/linux/{go_arch()}/{name}"
    program = _verified(url, f"{url}.sha256")
    if program is None:
        return False
    _install(program, to)
    return True


def helm(*, version: str, to: Path) -> bool:
    """Download helm to `to`; as `kubernetes`. $ANDANTE_HELM_MIRROR replaces the official site."""
    base = os.environ.get("ANDANTE_HELM_MIRROR", _HELM).rstrip("/")
    platform = f"linux-{go_arch()}"
    url = f"{base}/helm-{version}-{platform}.tar.gz"
    archive = _verified(url, f"{url}.sha256")
    if archive is None:
        return False
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile(f"{platform}/helm")
        if member is None:
            raise ClusterError(f"{url} holds no {platform}/helm")
        _install(member.read(), to)
    return True


def kind(*, version: str, to: Path) -> bool:
    """Download kind to `to`; as `kubernetes`."""
    url = f"{_KIND}/{version}/kind-linux-{go_arch()}"
    program = _verified(url, f"{url}.sha256sum")
    if program is None:
        return False
    _install(program, to)
    return True


def _verified(url: str, digest_url: str) -> bytes | None:
    """The body of `url`; None where the site cannot be reached. Raises ClusterError when the digest does not match."""
    published = _get_soon(digest_url)
    if published is None:
        say(f"{url}: no answer, trying the next way")
        return None
    say(f"downloading {url}")
    body = _get(url, timeout_seconds=120.0)
    if body is None:
        say(f"{url}: the download broke off, trying the next way")
        return None
    expected = published.split()[0].decode()
    if hashlib.sha256(body).hexdigest() != expected:
        raise ClusterError(
            f"{url} does not match its published SHA-256", "try again; do not use this network if it stays"
        )
    return body


def _get_soon(url: str) -> bytes | None:
    """Like `_get`, but takes at most _ANSWER_SECONDS: without a network, a name lookup may hang and has no time limit.

    A thread that hangs ends with the process.
    """
    answers: list[bytes | None] = []
    thread = threading.Thread(target=lambda: answers.append(_get(url, timeout_seconds=_ANSWER_SECONDS)), daemon=True)
    thread.start()
    thread.join(_ANSWER_SECONDS)
    return answers[0] if answers else None


def _get(url: str, *, timeout_seconds: float) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds) as reply:  # noqa: S310
            return bytes(reply.read())
    except (urllib.error.URLError, OSError):
        return None


def _install(program: bytes, to: Path) -> None:
    partial = to.with_name(f".{to.name}.{os.getpid()}")
    partial.write_bytes(program)
    partial.chmod(0o755)
    partial.replace(to)
