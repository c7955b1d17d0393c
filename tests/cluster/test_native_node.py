"""Pods on the native node: they run, reach each other and the API server, and are reached from the machine."""

from __future__ import annotations

import json
import urllib.request

from hack.localcluster.api import Cluster

_IN_POD = """
import json, os, ssl, urllib.request
folder = "/var/run/secrets/kubernetes.io/serviceaccount"
url = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}/api/v1/pods"
request = urllib.request.Request(url, headers={"Authorization": "Bearer " + open(folder + "/token").read()})
try:
    reply = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=folder + "/ca.crt"), timeout=10)
    print(reply.status)
except urllib.error.HTTPError as error:
    print(json.load(error)["message"])
"""


def test_service_answers_from_this_machine(web: str) -> None:
    with urllib.request.urlopen(f"http://{web}/", timeout=10) as reply:
        assert reply.status == 200


def test_service_answers_from_a_pod_whichever_replica_it_lands_on(cluster: Cluster, web: str) -> None:
    code = f"import urllib.request as u; print([u.urlopen('http://{web}/', timeout=10).status for _ in range(16)])"
    assert json.loads(cluster.kubectl("exec", "deploy/web", "--", "python", "-c", code).stdout) == [200] * 16


def test_pod_reaches_the_api_server_under_its_own_rights_only(cluster: Cluster, web: str) -> None:
    said = cluster.kubectl("exec", "deploy/web", "--", "python", "-c", _IN_POD).stdout
    assert 'User "system:serviceaccount:default:default" cannot list resource "pods"' in said


def test_logs_come_through_the_kubelet(cluster: Cluster, web: str) -> None:
    urllib.request.urlopen(f"http://{web}/", timeout=10).close()
    logs = cluster.kubectl("logs", "-l", "app=web", "--tail=-1").stdout
    assert '"GET / HTTP/1.1" 200' in logs


def test_memory_limit_is_enforced_by_the_kernel(cluster: Cluster, web_pod: dict[str, object]) -> None:
    container = dict(web_pod["containers"][0])  # type: ignore[index]
    container |= {
        "name": "greedy",
        "command": ["python", "-c", "held = bytearray(200_000_000); print(len(held))"],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    for key in ("readinessProbe", "ports"):
        container.pop(key)
    spec = {**web_pod, "restartPolicy": "Never", "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greedy"}, "spec": spec}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    cluster.kubectl("wait", "pod/greedy", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
    path = "-o=jsonpath={.status.containerStatuses[0].state.terminated.reason}"
    assert cluster.kubectl("get", "pod", "greedy", path).stdout == "OOMKilled"


def test_restricted_namespace_refuses_host_mounts(cluster: Cluster, web_pod: dict[str, object]) -> None:
    cluster.kubectl("create", "namespace", "strict")
    cluster.kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": web_pod}
    done = cluster.kubectl("apply", "-n", "strict", "-f", "-", stdin=json.dumps(pod), check=False)
    assert 'violates PodSecurity "restricted' in done.stderr
    assert "hostPath" in done.stderr
