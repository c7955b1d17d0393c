"""Strategic merge without an API server: properties, directives, errors."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.app.children.strategic_merge import PatchError, strategic_merge

POD: dict[str, Any] = {
    "metadata": {"labels": {"a": "1"}},
    "spec": {
        "containers": [{"name": "engine", "env": [{"name": "A", "value": "1"}], "livenessProbe": {"periodSeconds": 1}}],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "tolerations": [{"key": "gpu"}],
    },
}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "engine", "delete", "replace"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "spec", "containers", "volumes", "env", "$patch", "$retainKeys", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
PATCHES = st.dictionaries(st.sampled_from(["metadata", "spec", "$patch", "x"]), JSON, max_size=3)


def merged(patch: dict[str, Any]) -> Any:
    return strategic_merge(POD, patch)


@given(PATCHES)
def test_any_patch_merges_or_is_refused_with_a_path(patch: dict[str, Any]) -> None:
    before = copy.deepcopy(POD)
    try:
        result = merged(patch)
    except PatchError:
        result = None
    assert "$patch'" not in repr(result)
    assert before == POD


def test_an_empty_patch_changes_nothing() -> None:
    assert merged({}) == POD


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3))
def test_applying_a_patch_twice_is_applying_it_once(labels: dict[str, str]) -> None:
    patch = {"metadata": {"labels": labels}, "spec": {"volumes": [{"name": "cache", "emptyDir": {}}]}}
    assert strategic_merge(merged(patch), patch) == merged(patch)


def test_a_field_is_removed_by_a_delete_directive() -> None:
    patch = {"spec": {"containers": [{"name": "engine", "livenessProbe": {"$patch": "delete"}}]}}
    assert "livenessProbe" not in merged(patch)["spec"]["containers"][0]


def test_an_atomic_list_is_replaced() -> None:
    assert merged({"spec": {"tolerations": [{"key": "other"}]}})["spec"]["tolerations"] == [{"key": "other"}]


@pytest.mark.parametrize(
    ("patch", "path", "problem"),
    [
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers", "needs the field 'name'"),
        ({"spec": {"containers": [{"name": ["x"]}]}}, "spec.containers", "needs the field 'name'"),
        ({"spec": {"containers": ["engine"]}}, "spec.containers", "must be objects"),
        ({"spec": {"volumes": [{"name": "a"}, {"name": "a"}]}}, "spec.volumes[a]", "stands twice"),
        ({"spec": {"$patch": "merg"}}, "spec", "must be merge, replace or delete"),
        ({"spec": {"$setElementOrder/volumes": []}}, "spec", "unknown directive"),
        ({"spec": {"tolerations": [{"$patch": "replace"}]}}, "spec.tolerations", "replaced as a whole"),
        ({"spec": {"$retainKeys": ["a"], "b": 1}}, "spec", "must list every field"),
    ],
)
def test_a_bad_patch_is_refused_with_its_path(patch: dict[str, Any], path: str, problem: str) -> None:
    with pytest.raises(PatchError) as caught:
        merged(patch)
    assert caught.value.path == path
    assert problem in caught.value.problem
