"""Certificates and keys of one cluster, made by openssl; clusters share none."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hack.localcluster.errors import ClusterError

_DAYS = "3650"
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key (PEM files)."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """The cluster's certificate authority in `folder`; files that are there are kept, so that a restart keeps trust."""

    folder: Path

    @property
    def ca(self) -> Pair:
        return Pair(self.folder / "ca.crt", self.folder / "ca.key")

    @property
    def service_account_key(self) -> Path:
        """Signs the tokens of service accounts."""
        return self.folder / "service-account.key"

    def ensure(self) -> None:
        """Make the authority and the service account key where they are missing. Raises ClusterError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self.ca.cert.exists():
            usage = "keyUsage=critical,keyCertSign,cRLSign"
            self._request(self.ca, "/CN=andante-local-cluster", ["-addext", usage])
        if not self.service_account_key.exists():
            # ecparam, as kube-apiserver takes the public half only from the older "EC PRIVATE KEY" form.
            _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(self.service_account_key))

    def issue(self, name: str, *, subject: str, addresses: Sequence[str] = (), dns: Sequence[str] = ()) -> Pair:
        """A certificate `name`.crt for `subject` ("/O=group/CN=user"), good for server and client, valid for the IP
        `addresses` and `dns` names. One that is there is returned as it is. Raises ClusterError."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        if pair.cert.exists():
            return pair
        names = [*(f"IP:{a}" for a in addresses), *(f"DNS:{d}" for d in dns)]
        extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"]
        if names:
            extensions.append(f"subjectAltName={','.join(names)}")
        options = [part for extension in extensions for part in ("-addext", extension)]
        self._request(pair, subject, ["-CA", str(self.ca.cert), "-CAkey", str(self.ca.key), *options])
        return pair

    def _request(self, pair: Pair, subject: str, options: Sequence[str]) -> None:
        # The certificate is moved into place last: its presence then means that the key is there too.
        partial = pair.cert.with_suffix(".partial")
        out = ("-subj", subject, "-days", _DAYS, "-keyout", str(pair.key), "-out", str(partial))
        _openssl("req", "-x509", *_EC, *out, *options)
        partial.replace(pair.cert)


def _openssl(*args: str) -> None:
    try:
        subprocess.run(["openssl", *args], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise ClusterError(
            "openssl is not there; it makes the cluster's certificates", "apt-get install openssl"
        ) from error
    except subprocess.CalledProcessError as error:
        raise ClusterError(
            f"openssl {args[0]} failed: {error.stderr.strip()[-500:]}", "openssl 3.0 or newer is needed"
        ) from error
