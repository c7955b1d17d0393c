"""Runs the control plane as processes: etcd, kube-apiserver, controller-manager, scheduler. The start takes ~3 s.

`ControlPlaneSpec` says which process runs where. Pure functions make the command lines from it. `ControlPlaneProcesses`
starts and stops the processes.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from hack.localcluster.binaries import Binaries
from hack.localcluster.errors import ClusterError
from hack.localcluster.kubeconfig import write_kubeconfig
from hack.localcluster.pki import Authority, Pair
from hack.localcluster.processes import Service
from hack.localcluster.progress import wait_until
from hack.localcluster.statefiles import require_own, write_whole

_NODE_GROUP = "system:nodes"
_TOKEN = re.compile(r"[0-9a-f]{48}")
_REMEDY = "make cluster-down, then make cluster-up"
ADMIN = "andante-admin"
CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
KUBE_PROXY = "system:kube-proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneSpec:
    """The addresses, ports and folders of one control plane.

    address: IP that the API server listens on and advertises. service_cidr: range of the ClusterIPs; its first
    address is the API server's ClusterIP. node_name, when there is to be a node: its kubelet gets a token.
    """

    name: str
    state: Path
    address: str
    api_port: int
    etcd_client_port: int
    etcd_peer_port: int
    service_cidr: str
    service_api_address: str
    pod_cidr: str
    node_name: str | None = None
    scheduler: bool = False
    extra_admission_plugins: tuple[str, ...] = ()
    extra_apiserver_flags: tuple[str, ...] = ()
    die_with_parent: bool = False

    @classmethod
    def without_node(
        cls,
        *,
        name: str,
        state: Path,
        ports: Sequence[int],
        scheduler: bool = False,
        extra_admission_plugins: tuple[str, ...] = (),
        extra_apiserver_flags: tuple[str, ...] = (),
        die_with_parent: bool = False,
    ) -> Self:
        """A control plane without a node, on loopback. ports: API server, etcd for clients, etcd for peers."""
        api, client, peer = ports
        return cls(
            name=name,
            state=state,
            address="127.0.0.1",
            api_port=api,
            etcd_client_port=client,
            etcd_peer_port=peer,
            service_cidr="10.96.0.0/16",
            service_api_address="10.96.0.1",
            pod_cidr="10.244.0.0/16",
            scheduler=scheduler,
            extra_admission_plugins=extra_admission_plugins,
            extra_apiserver_flags=extra_apiserver_flags,
            die_with_parent=die_with_parent,
        )

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def authority(self) -> Authority:
        return Authority(self.state / "pki")

    @property
    def etcd_authority(self) -> Authority:
        """The authority that signs certificates only for etcd, and for the API server as etcd's client.

        etcd treats each client with a certificate of this authority as root. So it must not be the cluster's own
        authority, which signs certificates for kubelets and for certificate requests.
        """
        return Authority(self.state / "pki" / "etcd", subject="/CN=andante-local-etcd")

    @property
    def token_file(self) -> Path:
        """Bearer tokens in kube-apiserver's form: token, user, user's id, groups."""
        return self.state / "pki" / "tokens.csv"

    def component_kubeconfig(self, user: str) -> Path:
        return self.state / "kubeconfigs" / f"{user.replace(':', '_')}.json"


@dataclass(frozen=True, slots=True)
class Certificates:
    """server: the API server's, as a server and as a client of kubelets. etcd: etcd's, towards clients and peers.
    etcd_client: the API server's towards etcd."""

    server: Pair
    etcd: Pair
    etcd_client: Pair


def etcd_command(spec: ControlPlaneSpec, binary: Path, certificates: Certificates) -> list[str]:
    """etcd's command line, without fsync: so it starts faster, and a test cluster may lose its data in a power cut.

    etcd has no peers here, but the peer port cannot be turned off, and its clients may write. So this port requires a
    certificate, too.
    """
    client = f"https://127.0.0.1:{spec.etcd_client_port}"
    peer = f"https://127.0.0.1:{spec.etcd_peer_port}"
    pair, ca = certificates.etcd, spec.etcd_authority.ca.cert
    return [
        str(binary),
        "--name=default",
        f"--data-dir={spec.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        f"--cert-file={pair.cert}",
        f"--key-file={pair.key}",
        f"--trusted-ca-file={ca}",
        "--client-cert-auth",
        f"--peer-cert-file={pair.cert}",
        f"--peer-key-file={pair.key}",
        f"--peer-trusted-ca-file={ca}",
        "--peer-client-cert-auth",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=2147483648",
        "--logger=zap",
        "--log-level=warn",
    ]


def apiserver_command(spec: ControlPlaneSpec, binary: Path, certificates: Certificates) -> list[str]:
    """kube-apiserver with RBAC, the Node authorizer, and the default admission plugins (PodSecurity, ResourceQuota…).

    Without a node it advertises loopback, which Kubernetes refuses as an endpoint: the reconciler is then off.
    """
    plugins = ",".join(("NodeRestriction", *spec.extra_admission_plugins))
    certificate, etcd_client = certificates.server, certificates.etcd_client
    command = [
        str(binary),
        f"--bind-address={spec.address}",
        f"--advertise-address={spec.address}",
        f"--secure-port={spec.api_port}",
        f"--etcd-servers=https://127.0.0.1:{spec.etcd_client_port}",
        f"--etcd-cafile={spec.etcd_authority.ca.cert}",
        f"--etcd-certfile={etcd_client.cert}",
        f"--etcd-keyfile={etcd_client.key}",
        f"--tls-cert-file={certificate.cert}",
        f"--tls-private-key-file={certificate.key}",
        f"--client-ca-file={spec.authority.ca.cert}",
        f"--token-auth-file={spec.token_file}",
        "--authorization-mode=Node,RBAC",
        f"--enable-admission-plugins={plugins}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={spec.authority.service_account_key}",
        f"--service-account-signing-key-file={spec.authority.service_account_key}",
        f"--service-cluster-ip-range={spec.service_cidr}",
        "--allow-privileged=true",
    ]
    if spec.node_name is None:
        command.append("--endpoint-reconciler-type=none")
    else:
        command += [
            f"--kubelet-certificate-authority={spec.authority.ca.cert}",
            f"--kubelet-client-certificate={certificate.cert}",
            f"--kubelet-client-key={certificate.key}",
            "--kubelet-preferred-address-types=InternalIP",
        ]
    return [*command, *spec.extra_apiserver_flags]


def controller_manager_command(spec: ControlPlaneSpec, binary: Path) -> list[str]:
    """kube-controller-manager with every default controller, each under its own service account."""
    kubeconfig = spec.component_kubeconfig(CONTROLLER_MANAGER)
    return [
        str(binary),
        f"--kubeconfig={kubeconfig}",
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={spec.authority.service_account_key}",
        f"--root-ca-file={spec.authority.ca.cert}",
        f"--cluster-signing-cert-file={spec.authority.ca.cert}",
        f"--cluster-signing-key-file={spec.authority.ca.key}",
        "--leader-elect=false",
        "--secure-port=0",
        # With the default rate limit, the controllers need 5 s at the start to create their service accounts.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        # As often as the demo's operator decides: the demo's rival is a HorizontalPodAutoscaler. The default is 15 s.
        "--horizontal-pod-autoscaler-sync-period=5s",
        f"--cluster-cidr={spec.pod_cidr}",
        "--allocate-node-cidrs=false",
    ]


def scheduler_command(spec: ControlPlaneSpec, binary: Path) -> list[str]:
    return [
        str(binary),
        f"--kubeconfig={spec.component_kubeconfig(SCHEDULER)}",
        "--leader-elect=false",
        "--secure-port=0",
    ]


@dataclass(slots=True)
class ControlPlaneProcesses:
    """Starts and stops the processes of a ControlPlaneSpec."""

    spec: ControlPlaneSpec
    binaries: Binaries
    _tls: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    def service(self, name: str) -> Service:
        return Service(name=name, state=self.spec.state)

    @property
    def service_names(self) -> tuple[str, ...]:
        """All processes, in start order."""
        optional = ("kube-scheduler",) if self.spec.scheduler else ()
        return ("etcd", "kube-apiserver", "kube-controller-manager", *optional)

    def start(self) -> None:
        """Start the processes that do not run yet; return when the API server is ready.

        Raises ClusterError with the end of a log.
        """
        spec = self.spec
        spec.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        require_own(spec.state.parent)
        require_own(spec.state)
        for name in self.service_names:
            self.service(name).forget_if_ended()
        self._write_credentials()
        self._spawn("etcd", etcd_command(spec, self.binaries.path("etcd"), self._certificates()))
        self.start_apiserver()
        manager = self.binaries.path("kube-controller-manager")
        self._spawn("kube-controller-manager", controller_manager_command(spec, manager))
        if spec.scheduler:
            self._spawn("kube-scheduler", scheduler_command(spec, self.binaries.path("kube-scheduler")))
        # Pods can be created only if the namespace's default service account exists. The controller manager creates it.
        wait_until(
            lambda: self._get("/api/v1/namespaces/default/serviceaccounts/default") == 200,
            what="kube-controller-manager (service account of the default namespace)",
            timeout_seconds=60,
            still_possible=self._died,
        )

    def start_apiserver(self) -> None:
        command = apiserver_command(self.spec, self.binaries.path("kube-apiserver"), self._certificates())
        self._spawn("kube-apiserver", command)
        self.wait_ready()

    def wait_ready(self, timeout_seconds: float = 120.0) -> None:
        """Return when /readyz answers 200."""
        wait_until(
            lambda: self._get("/readyz") == 200,
            what=f"kube-apiserver at {self.spec.server}",
            timeout_seconds=timeout_seconds,
            still_possible=self._died,
        )

    def stop(self) -> None:
        """Stop in reverse order: clients first, etcd last."""
        for name in ("kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"):
            # The API server waits up to a minute for open watches to end. Here no client needs them any more.
            self.service(name).stop(grace_seconds=2.0 if name == "kube-apiserver" else 5.0)

    def remove_state(self) -> None:
        shutil.rmtree(self.spec.state, ignore_errors=False)

    @property
    def admin_token(self) -> str:
        """Raise ClusterError where the file with the tokens is missing or broken."""
        try:
            return self._tokens()[ADMIN]
        except KeyError:
            raise ClusterError(f"{self.spec.token_file} is missing or broken", _REMEDY) from None

    def _spawn(self, name: str, command: list[str]) -> None:
        self.service(name).start(command, die_with_parent=self.spec.die_with_parent)

    def _died(self) -> str | None:
        for name in self.service_names:
            service = self.service(name)
            if service.pid_file.exists() and not service.alive():
                return f"{name} ended; end of {service.log}:\n{service.log_tail()}"
        return None

    def _get(self, path: str) -> int | None:
        """HTTP status of a GET with the admin's token; None without an answer."""
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=str(self.spec.authority.ca.cert))
        url = f"{self.spec.server}{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.admin_token}"})  # noqa: S310
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )
        try:
            with opener.open(request, timeout=2) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except (urllib.error.URLError, OSError):
            return None

    def _certificates(self) -> Certificates:
        """Create missing certificates and keep existing ones. Raises ClusterError where one is broken."""
        spec = self.spec
        spec.authority.ensure()
        spec.authority.ensure_service_account_key()
        spec.etcd_authority.ensure()
        return Certificates(
            server=spec.authority.issue(
                "apiserver",
                subject="/O=system:masters/CN=kube-apiserver",
                addresses=sorted({spec.address, "127.0.0.1", spec.service_api_address}),
                dns=("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"),
            ),
            etcd=spec.etcd_authority.issue("etcd", subject="/CN=etcd", addresses=("127.0.0.1",)),
            etcd_client=spec.etcd_authority.issue("apiserver", subject="/CN=kube-apiserver"),
        )

    def _tokens(self) -> dict[str, str]:
        """The token of each user, as far as the API server's token file, the only copy, can be read."""
        try:
            rows = list(csv.reader(io.StringIO(self.spec.token_file.read_text())))
        except (OSError, ValueError, csv.Error):
            return {}
        return {row[1]: row[0] for row in rows if len(row) >= 3 and _TOKEN.fullmatch(row[0])}

    def _write_credentials(self) -> None:
        """Create missing keys, tokens and kubeconfigs, and keep existing ones.

        Raises ClusterError where the tokens are lost while the processes run: these would still use the old tokens.
        """
        spec = self.spec
        self._certificates()
        groups = {ADMIN: "system:masters", CONTROLLER_MANAGER: "", SCHEDULER: "", KUBE_PROXY: ""}
        if spec.node_name is not None:
            groups[f"system:node:{spec.node_name}"] = _NODE_GROUP
        known = self._tokens()
        if not known.keys() >= groups.keys() and any(self.service(name).alive() for name in self.service_names):
            raise ClusterError(f"{spec.token_file} is missing or broken", _REMEDY)
        tokens = {user: known.get(user) or secrets.token_hex(24) for user in groups}
        rows = [f'{tokens[user]},{user},{user},"{group}"\n' for user, group in groups.items()]
        write_whole(spec.token_file, "".join(rows))
        (spec.state / "kubeconfigs").mkdir(exist_ok=True, mode=0o700)
        for user in groups:
            path = spec.kubeconfig if user == ADMIN else spec.component_kubeconfig(user)
            write_kubeconfig(
                path,
                name=spec.name if user == ADMIN else user,
                server=spec.server,
                ca=spec.authority.ca.cert,
                token=tokens[user],
            )
