"""Makes the native node's configuration files from its NodeSpec: containerd, CNI, kubelet, kube-proxy. Pure functions.

These programs write only below the cluster's state folder, and to file systems that exist only in the node's mount
namespace (see node_init). So nothing is left on the machine.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hack.localcluster import registries

PAUSE_IMAGE = "localhost/andante/pause:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """The addresses, folders and limits of one node. Addresses are IPv4; `pod_cidr` is the range of its pods."""

    name: str
    state: Path
    address: str
    pod_cidr: str
    cgroup_root: str
    cni_plugins: Path
    containerd: Path
    kubelet: Path
    kube_proxy: Path
    kubelet_kubeconfig: Path
    kube_proxy_kubeconfig: Path
    ca: Path
    kubelet_cert: Path
    kubelet_key: Path

    @property
    def folder(self) -> Path:
        return self.state / "node"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def resolv_conf(self) -> Path:
        return self.folder / "resolv.conf"

    def config(self, name: str) -> Path:
        return self.folder / "config" / name

    def to_json(self) -> str:
        values = {k: str(v) for k, v in dataclasses.asdict(self).items()}
        return json.dumps(values, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        arguments: dict[str, Any] = {
            f.name: Path(values[f.name]) if f.type == "Path" else values[f.name] for f in dataclasses.fields(cls)
        }
        return cls(**arguments)


def containerd_config(spec: NodeSpec, *, snapshotter: str) -> str:
    """TOML. `restrict_oom_score_adj`: without it no pod starts where CAP_SYS_RESOURCE is missing. The stream server is
    on loopback of the node's own network namespace; the kubelet proxies exec and port-forward to it."""
    folder = spec.folder
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-run"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.aufs",
]

[grpc]
  address = "{spec.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries.folder(spec.state)}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{spec.cni_plugins}"
    conf_dir = "{spec.config("cni")}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""


def cni_config(spec: NodeSpec) -> dict[str, Any]:
    """The CNI configuration: point-to-point links instead of a bridge.

    So each reply passes through the node, which undoes kube-proxy's address translation. It needs no br_netfilter."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": spec.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(spec.folder / "cni-addresses"),
    }
    return {
        "cniVersion": "0.4.0",
        "name": "andante",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def kubelet_config(spec: NodeSpec) -> dict[str, Any]:
    """KubeletConfiguration. Eviction starts late: a developer's disk is often nearly full."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": spec.address,
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(spec.ca)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(spec.kubelet_cert),
        "tlsPrivateKeyFile": str(spec.kubelet_key),
        "containerRuntimeEndpoint": f"unix://{spec.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": spec.cgroup_root,
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "resolvConf": str(spec.resolv_conf),
        "podLogsDir": str(spec.folder / "pod-logs"),
        "volumePluginDir": str(spec.folder / "volume-plugins"),
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 99,
        "imageGCLowThresholdPercent": 98,
        "shutdownGracePeriod": "0s",
        "serializeImagePulls": False,
    }


def kube_proxy_config(spec: NodeSpec) -> dict[str, Any]:
    """KubeProxyConfiguration in iptables mode; the conntrack limits belong to the machine and are left alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(spec.kube_proxy_kubeconfig)},
        "clusterCIDR": spec.pod_cidr,
        "hostnameOverride": spec.name,
        "bindAddress": spec.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }


def kubelet_command(spec: NodeSpec) -> list[str]:
    return [
        str(spec.kubelet),
        f"--config={spec.config('kubelet.json')}",
        f"--kubeconfig={spec.kubelet_kubeconfig}",
        f"--root-dir={spec.folder / 'kubelet'}",
        f"--cert-dir={spec.folder / 'kubelet-pki'}",
        f"--hostname-override={spec.name}",
        f"--node-ip={spec.address}",
    ]


def kube_proxy_command(spec: NodeSpec) -> list[str]:
    return [str(spec.kube_proxy), f"--config={spec.config('kube-proxy.json')}"]


def containerd_command(spec: NodeSpec) -> list[str]:
    return [str(spec.containerd), "--config", str(spec.config("containerd.toml"))]
