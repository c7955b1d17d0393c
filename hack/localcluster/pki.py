"""Makes the certificates and keys of one cluster with openssl. Clusters share none.

openssl writes to its output, not to files: when a start is killed, no process goes on writing, and every file is whole.
"""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.errors import ClusterError
from hack.localcluster.statefiles import PUBLIC, write_whole

_DAYS = "3650"
_EC = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")
_REMEDY = "make cluster-down, then make cluster-up: a cluster cannot change its certificates while it runs"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key (PEM files)."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """The cluster's certificate authority in `folder`. Existing files are kept, so that a restart keeps trust."""

    folder: Path
    subject: str = "/CN=andante-local-cluster"

    @property
    def ca(self) -> Pair:
        return Pair(self.folder / "ca.crt", self.folder / "ca.key")

    @property
    def service_account_key(self) -> Path:
        """Signs the tokens of service accounts."""
        return self.folder / "service-account.key"

    def ensure(self) -> None:
        """Create the authority where it is missing. Raises ClusterError, also where it is broken."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.ca.cert.exists():
            if any(self.folder.glob("*.crt")):  # it was created first, and signed these
                raise ClusterError(f"{self.ca.cert} is missing", _REMEDY)
            usage = "keyUsage=critical,keyCertSign,cRLSign"
            self._make(self.ca, self.subject, ["-addext", usage])
        _require_pair(self.ca)

    def ensure_service_account_key(self) -> None:
        """Create the key where it is missing. Raises ClusterError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.service_account_key.exists():
            # Use ecparam: kube-apiserver reads the public key only from the older format "EC PRIVATE KEY".
            write_whole(self.service_account_key, _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout"))

    def issue(self, name: str, *, subject: str, addresses: Sequence[str] = (), dns: Sequence[str] = ()) -> Pair:
        """Certificate `name`.crt for `subject` ("/O=group/CN=user"), for servers and clients, valid for the IP
        `addresses` and `dns` names.

        An existing certificate is returned unchanged. Raises ClusterError, also where it is broken.
        """
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.cert.exists():
            _require_pair(pair)
            return pair
        names = [*(f"IP:{a}" for a in addresses), *(f"DNS:{d}" for d in dns)]
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if names:
            extensions.append(f"subjectAltName={','.join(names)}")
        options = [part for extension in extensions for part in ("-addext", extension)]
        self._make(pair, subject, ["-CA", str(self.ca.cert), "-CAkey", str(self.ca.key), *options])
        return pair

    def _make(self, pair: Pair, subject: str, options: Sequence[str]) -> None:
        # Write the certificate last: if it exists, the key exists too.
        write_whole(pair.key, _openssl("genpkey", *_EC))
        request = ("-x509", "-new", "-key", str(pair.key), "-subj", subject, "-days", _DAYS)
        write_whole(pair.cert, _openssl("req", *request, *options), mode=PUBLIC)


def _require_pair(pair: Pair) -> None:
    """Raise ClusterError unless the certificate and its key can be read and belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.cert, pair.key, password="")  # never asks
    except OSError as error:  # ssl.SSLError is one
        raise ClusterError(f"{pair.cert} or {pair.key.name} beside it is broken: {error}", _REMEDY) from error


def _openssl(*args: str) -> str:
    """The output of `openssl`."""
    try:
        return subprocess.run(["openssl", *args], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise ClusterError(
            "openssl is not there; it makes the cluster's certificates", "apt-get install openssl"
        ) from error
    except subprocess.CalledProcessError as error:
        raise ClusterError(
            f"openssl {args[0]} failed: {error.stderr.strip()[-500:]}", "openssl 3.0 or newer is needed"
        ) from error
