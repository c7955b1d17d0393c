"""Brings the rival to the cluster, and takes everything of it away again: the cluster is left as it was found."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes import client

from hack.demo import rival
from hack.demo.external_metrics import GROUP, IN_FLIGHT, VERSION, WAITING
from hack.demo.rival import Manifest, Targets
from hack.demo.watch import Watcher
from hack.install import SYSTEM_NAMESPACE, Installation, kubectl_binary, reach, run
from hack.localcluster.pki import Authority

_OPERATOR = "andante-operator"
_GONE_SECONDS = 150.0
"""A drain may take a minute, and the service may ask for more."""
_ANSWERS_SECONDS = 90.0
_KINDS = (
    "apiservices.apiregistration.k8s.io,horizontalpodautoscalers.autoscaling,llmservices.andante.dev,deployments.apps,"
    "services,rolebindings.rbac.authorization.k8s.io,roles.rbac.authorization.k8s.io,serviceaccounts,configmaps,secrets"
)
"""The kinds of the rival's objects, in the order of their removal."""
Service = Mapping[str, Any]


class RivalError(Exception):
    """The rival cannot play; the message says why, and what to do."""


def why_not() -> str | None:
    """Why this cluster cannot have the rival, as a sentence; None where it can. Changes nothing."""
    try:
        found = client.ApiregistrationV1Api().read_api_service(rival.API_SERVICE, _preload_content=False)
    except client.ApiException as error:
        if error.status == 404:
            return None
        return f"No rival plays: the cluster does not say whether a metrics adapter is there ({error.reason})."
    if not rival.is_foreign(json.loads(found.data)):
        return None
    return (
        f"No rival plays: the cluster has an adapter for {GROUP} of its own (APIService {rival.API_SERVICE}), and the"
        " demo does not replace it. It plays on a cluster without one, such as the local node."
    )


class RivalCluster:
    """The rival's objects beside a service of ours."""

    def __init__(
        self, installation: Installation, service: Service, targets: Targets, *, say: Callable[[str], None]
    ) -> None:
        """`service`: the manifest of ours."""
        self._installation, self._service, self._targets, self._say = installation, service, targets, say
        self._namespace, self._ours = installation.namespace, installation.service
        self._kubectl = (kubectl_binary(), "--kubeconfig", str(installation.kubeconfig), "-n", self._namespace)
        self.name = rival.rival_name(service)

    @contextlib.contextmanager
    def playing(self) -> Iterator[Installation]:
        """Our own service rests, and the rival's engines start. All is undone at the end.

        Raises RivalError where something does not come about, and RuntimeError where kubectl fails.
        """
        try:
            with self._brought() as installation:
                yield installation
        finally:
            try:
                self.take_away()
            except RuntimeError as error:  # what the rival did stands, or what kept it from playing
                self._say(f"demo: the rival could not be taken away: {error}")

    def watcher(self) -> Watcher:
        return Watcher(name=self.name, namespace=self._namespace, autoscaler=self.name)

    @contextlib.contextmanager
    def _brought(self) -> Iterator[Installation]:
        if reason := why_not():  # an adapter may have come since the demo began
            raise RivalError(reason)
        self._say("==> rival: let our own service rest, so that it takes nothing from the rival")
        self._patch_ours({"spec": {"replicas": 0, "scaling": {"mode": "Manual"}}})
        ours = Watcher(name=self._ours, namespace=self._namespace)
        _until(lambda: not ours.read_pods(ours.read()), f"the pods of {self._ours} did not end", seconds=_GONE_SECONDS)
        self._say("==> rival: stock vLLM as a service, and an adapter that tells an autoscaler of its queue")
        self._apply(rival.stock_service(self._service))
        *objects, api_service = self._adapter()
        self._apply(*objects)
        # Not before it serves: a group that does not answer hinders whoever discovers the API, kubectl and helm too.
        run(*self._kubectl, "rollout", "status", f"deployment/{rival.ADAPTER}", f"--timeout={_ANSWERS_SECONDS:.0f}s")
        self._apply(api_service)
        installation = reach(self._installation, self.name)
        try:
            yield installation
        finally:
            installation.close()

    def await_autoscaler(self) -> None:
        """Create the HorizontalPodAutoscaler; return when it has read its metrics. Raises as `playing` does.

        The rival's service must be Ready: without a pod there is nothing to read.
        """
        paths = [f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}/{m}" for m in (WAITING, IN_FLIGHT)]

        def asked() -> str:
            return "".join(self._said("get", "--raw", path) for path in paths)

        _until(lambda: asked().count('"items": [{') == len(paths), "the metrics adapter has no figures", after=asked)
        self._apply(rival.autoscaler(self._service, self._targets))
        watcher = self.watcher()

        def scales() -> bool:
            found = watcher.read_autoscaler() or {}
            conditions = (found.get("status") or {}).get("conditions") or []
            return any(c["type"] == "ScalingActive" and c["status"] == "True" for c in conditions)

        describe = functools.partial(self._said, "describe", f"hpa/{self.name}")
        _until(scales, f"the HorizontalPodAutoscaler {self.name} reads no metrics", after=describe)

    def _adapter(self) -> list[Manifest]:
        """The adapter's objects, the APIService last."""
        operator = client.AppsV1Api().read_namespaced_deployment(_OPERATOR, SYSTEM_NAMESPACE, _preload_content=False)
        host = f"{rival.ADAPTER}.{self._namespace}.svc"
        with tempfile.TemporaryDirectory() as folder:
            authority = Authority(Path(folder), subject="/CN=andante-demo")
            authority.ensure()
            pair = authority.issue("adapter", subject=f"/CN={rival.ADAPTER}", dns=(host,))
            ca, certificate, key = (path.read_text() for path in (authority.ca.cert, pair.cert, pair.key))
        objects = rival.adapter(
            namespace=self._namespace,
            service=self.name,
            image=rival.AdapterImage.of(json.loads(operator.data)),
            certificate=certificate,
            key=key,
        )
        return [*objects, rival.api_service(namespace=self._namespace, certificate=ca)]

    def _said(self, *command: str) -> str:
        """What kubectl says, also where it fails."""
        try:
            return run(*self._kubectl, *command)
        except RuntimeError as error:
            return str(error)

    def _apply(self, *manifests: Manifest) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        # By server-side apply: a client-side one would copy the adapter's key into an annotation.
        owner = ("--server-side", "--field-manager=andante-demo", "--force-conflicts")
        run(*self._kubectl, "apply", *owner, "-f", "-", stdin=json.dumps(listed))

    def _patch_ours(self, patch: Mapping[str, Any]) -> None:
        run(*self._kubectl, "patch", f"llmservices.andante.dev/{self._ours}", "--type=merge", "-p", json.dumps(patch))

    def take_away(self) -> None:
        """Remove everything of the rival, also what a run that was killed has left, and let our own service scale.

        Removes only what has the demo's label. Raises RuntimeError where kubectl fails.
        """
        selector = ",".join(f"{key}={value}" for key, value in rival.LABEL.items())
        spec = self._service["spec"]
        mode = {"replicas": spec.get("replicas"), "scaling": {"mode": spec.get("scaling", {}).get("mode")}}
        failed = []
        for step in (
            # The APIService first: while its adapter is gone, no namespace could be deleted.
            functools.partial(run, *self._kubectl, "delete", _KINDS, f"--selector={selector}", "--wait=false"),
            functools.partial(self._patch_ours, {"spec": mode}),
        ):
            try:
                step()
            except RuntimeError as error:
                failed.append(str(error))
        if failed:
            raise RuntimeError("\n".join(failed))


def _until(
    happened: Callable[[], bool],
    otherwise: str,
    *,
    seconds: float = _ANSWERS_SECONDS,
    after: Callable[[], str] = lambda: "",
) -> None:
    """Return when it `happened`. Raises RivalError after `seconds`, with what `after` tells then."""
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise RivalError(f"{otherwise} in {seconds:.0f} s\n{after()}".rstrip())
        time.sleep(1)
