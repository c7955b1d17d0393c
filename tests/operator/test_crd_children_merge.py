"""Our strategic merge does what the API server does when it patches a live pod template."""

from __future__ import annotations

import copy
import json
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from hack.localcluster.api import ControlPlane
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from andante.app.children.strategic_merge import MERGE_KEYS, strategic_merge

TEMPLATES = "/api/v1/namespaces/default/podtemplates"


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    with httpx.Client(
        base_url=control_plane.server, verify=ssl.create_default_context(cafile=str(control_plane.ca)), headers=headers
    ) as client:
        yield client


def _merge_keys_of(schemas: Mapping[str, Any], name: str, fields: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for field, schema in schemas[name].get("properties", {}).items():
        path = (*fields, field)
        if (
            schema.get("x-kubernetes-patch-strategy", "").startswith("merge")
            and "x-kubernetes-patch-merge-key" in schema
        ):
            found[path] = schema["x-kubernetes-patch-merge-key"]
        inner = schema.get("items", schema)
        for part in (inner, *inner.get("allOf", [])):
            if "$ref" in part:
                found |= _merge_keys_of(schemas, part["$ref"].rsplit("/", 1)[-1], path)
    return found


def test_the_merge_keys_are_those_of_the_api_servers_own_schema(api: httpx.Client) -> None:
    schemas = api.get("/openapi/v3/api/v1").raise_for_status().json()["components"]["schemas"]
    assert dict(MERGE_KEYS) == _merge_keys_of(schemas, "io.k8s.api.core.v1.PodSpec", ("spec",))


ORIGINAL: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}, "annotations": {"n": "x"}},
    "spec": {
        "containers": [
            {"name": "engine", "image": "e", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
             "ports": [{"name": "http", "containerPort": 8000}],
             "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
             "resources": {"requests": {"cpu": "1"}}, "command": ["x", "y"]},
            {"name": "side", "image": "s"},
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "cache", "emptyDir": {}}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "nodeSelector": {"gpu": "a100"},
    },
}  # fmt: skip

_env = st.fixed_dictionaries({"name": st.sampled_from("ABC")}, optional={"value": st.sampled_from(["3", "4"])})
_env_entry = _env | st.builds(lambda name: {"name": name, "$patch": "delete"}, st.sampled_from("ABC"))
_replace: st.SearchStrategy[dict[str, Any]] = st.just({"$patch": "replace"})


def _no_directives_in_what_is_new(container: dict[str, Any]) -> dict[str, Any]:
    # The API server leaves directives in lists that it has nothing to merge with; we carry them out.
    if container["name"] == "engine":
        return container
    return {name: value for name, value in container.items() if name not in ("env", "resources")}


def _unique(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({entry.get("mountPath", entry.get("name")): entry for entry in entries}.values())


_mount = st.fixed_dictionaries(
    {"mountPath": st.sampled_from(["/tmp", "/data"]), "name": st.sampled_from(["tmp", "cache"])}
)
_container = st.fixed_dictionaries(
    {"name": st.sampled_from(["engine", "side", "new"]), "image": st.sampled_from(["e", "f"])},
    optional={
        "env": st.lists(_env_entry, max_size=3).map(_unique)
        | st.lists(_env, max_size=2).map(_unique).map(lambda entries: [*entries, {"$patch": "replace"}]),
        "volumeMounts": st.lists(_mount, max_size=2).map(_unique),
        "resources": st.sampled_from(
            [{"requests": {"cpu": "2"}}, {"requests": {"cpu": None, "memory": "1Gi"}}, {"$patch": "replace"}]
        ),
        "command": st.lists(st.sampled_from("xz"), min_size=1, max_size=2),
        "terminationMessagePath": st.sampled_from(["/x", None]),
    },
).map(_no_directives_in_what_is_new)
_volume = st.sampled_from(
    [
        {"name": "cache", "$patch": "delete"},
        {"name": "cache", "emptyDir": {"medium": "Memory"}},
        {"name": "cache", "$retainKeys": ["name", "configMap"], "configMap": {"name": "m"}},
        {"name": "cache", "emptyDir": None, "configMap": {"name": "m"}},
        {"name": "data", "emptyDir": {}},
    ]
)
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries(
            {}, optional={"labels": st.dictionaries(st.sampled_from("ab"), st.sampled_from(["2", None]), max_size=2)}
        ),
        "spec": st.fixed_dictionaries(
            {},
            optional={
                "containers": st.lists(_container, max_size=3).map(_unique),
                "volumes": st.lists(_volume, max_size=2).map(_unique),
                "tolerations": st.lists(st.sampled_from([{"key": "k", "operator": "Exists"}]), max_size=1),
                "nodeSelector": st.sampled_from([{"zone": "b"}, {"$patch": "replace", "zone": "b"}, None]),
                "hostAliases": st.just([{"ip": "10.0.0.1", "hostnames": ["h"]}]),
            },
        ),
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(patch={"spec": {"containers": [{"name": "side", "image": "f"}, {"name": "engine", "image": "e"}]}})
@given(patch=PATCHES)
def test_merges_as_the_api_server_does(api: httpx.Client, stored: str, patch: dict[str, Any]) -> None:
    ours = strategic_merge(copy.deepcopy(ORIGINAL), patch)
    body = {"metadata": {"name": "ours"}, "template": ours}
    # Both results go through the same defaulting and validation, so only the merge can differ.
    wanted = api.patch(
        f"{TEMPLATES}/{stored}?dryRun=All",
        headers={"Content-Type": "application/strategic-merge-patch+json"},
        content=json.dumps({"template": patch}),
    )
    got = api.post(f"{TEMPLATES}?dryRun=All", json=body)
    assert wanted.is_success == got.is_success, (wanted.text, got.text)
    if got.is_success:
        assert got.json()["template"] == wanted.json()["template"]


@pytest.fixture(scope="module")
def stored(api: httpx.Client) -> Iterator[str]:
    body = {"metadata": {"name": "original"}, "template": ORIGINAL}
    api.post(TEMPLATES, json=body).raise_for_status()
    yield "original"
    api.delete(f"{TEMPLATES}/original").raise_for_status()
