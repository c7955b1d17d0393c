"""What the operator has seen, and what it takes to change it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from andante.app.slim import is_partial
from andante.app.world import World, merge_patch

KIND = "PodDisruptionBudget"


def _object(version: str, *, uid: str = "u", name: str = "x", **more: Any) -> dict[str, Any]:
    metadata = {
        "namespace": "n",
        "name": name,
        "uid": uid,
        "resourceVersion": version,
        "labels": {"andante.dev/llmservice": name},
        "ownerReferences": [{"kind": "LLMService", "name": name, "uid": "s"}],
        **more,
    }
    return {"kind": KIND, "metadata": metadata}


def test_an_older_answer_does_not_undo_a_newer_one() -> None:
    world = World()
    world.put(_object("20"))
    world.put(_object("9"))
    assert world.get(KIND, "n", "x") == _object("20")


def test_a_new_object_of_the_same_name_replaces_the_old_one() -> None:
    world = World()
    world.put(_object("20"))
    world.put(_object("22", uid="new"))
    world.drop(_object("21"))
    assert world.get(KIND, "n", "x") == _object("22", uid="new")


def test_a_late_answer_about_a_deleted_object_does_not_replace_its_heir() -> None:
    world = World()
    world.put(_object("22", uid="new"))
    assert not world.put(_object("20"))
    assert world.get(KIND, "n", "x") == _object("22", uid="new")


def test_a_late_answer_does_not_bring_back_what_is_gone() -> None:
    world = World()
    world.put(_object("9"))
    assert world.drop(_object("11"))
    assert not world.put(_object("10"))
    assert world.get(KIND, "n", "x") is None


def test_what_a_list_does_not_show_is_not_brought_back_by_an_older_answer() -> None:
    world = World()
    world.put(_object("9"))
    world.replace(KIND, [], version=11)
    assert not world.put(_object("10"))


def test_what_lost_its_label_and_got_it_back_is_there() -> None:
    world = World()
    world.put(_object("9"))
    world.drop(_object("11"))
    assert world.put(_object("12"))
    assert not world.drop(_object("11"))
    assert world.get(KIND, "n", "x") == _object("12")


def test_objects_are_found_by_their_service() -> None:
    world = World()
    world.put(_object("1", name="a"))
    world.put(_object("2", name="b"))
    assert [o["metadata"]["name"] for o in world.of_service(KIND, "n", "b")] == ["b"]


def test_a_list_tells_of_what_was_deleted_while_the_watch_was_cut_off() -> None:
    world = World()
    world.put(_object("1", name="a"))
    world.put(_object("2", name="b"))
    assert world.replace(KIND, [_object("2", name="b")], version=3) == {("n", "a")}
    assert world.get(KIND, "n", "a") is None


values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=2), values, max_size=4)


def _merged(live: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


@given(live=documents, wanted=documents)
def test_a_merge_patch_turns_what_is_there_into_what_is_wanted(live: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert _merged(live, merge_patch(live, wanted)) == wanted


@given(document=documents)
def test_nothing_to_change_is_no_patch(document: dict[str, Any]) -> None:
    assert merge_patch(document, document) == {}


def test_a_label_alone_is_not_kept() -> None:
    world = World()
    assert not world.put(_object("1", ownerReferences=[]))
    assert not world.put(_object("2", ownerReferences=[{"kind": "Deployment", "name": "x", "uid": "s"}]))
    assert world.get(KIND, "n", "x") is None


def test_what_loses_its_owner_is_no_longer_there() -> None:
    world = World()
    world.put(_object("1"))
    assert world.put(_object("2", ownerReferences=[]))
    assert world.get(KIND, "n", "x") is None


def test_of_what_is_kept_whole_there_is_one_for_each_service() -> None:
    world = World()
    for name in ("x", "x1", "x2"):
        world.put({**_object("1", name=name, labels={"andante.dev/llmservice": "x"}), "spec": {"maxUnavailable": 1}})
    found = {obj["metadata"]["name"]: is_partial(obj) for obj in world.of_service(KIND, "n", "x")}
    assert found == {"x": False, "x1": True, "x2": True}


def test_a_watch_of_metadata_leaves_what_is_known_of_the_same_version() -> None:
    world = World()
    whole = {**_object("3"), "kind": "ConfigMap", "data": {"a": "b"}}
    world.put({**_object("3"), "kind": "ConfigMap"}, partial=True)
    assert is_partial(world.get("ConfigMap", "n", "x") or {})
    world.put(whole)
    assert (world.get("ConfigMap", "n", "x") or {})["data"] == {"a": "b"}
    world.put({**_object("3"), "kind": "ConfigMap"}, partial=True)
    assert not is_partial(world.get("ConfigMap", "n", "x") or {})
    world.put({**_object("4"), "kind": "ConfigMap"}, partial=True)
    assert is_partial(world.get("ConfigMap", "n", "x") or {})


def test_of_pods_and_of_metadata_little_is_kept() -> None:
    bulk = "z" * 200_000
    pod = {
        "kind": "Pod",
        "metadata": {
            **_object("1")["metadata"], "annotations": {"a": bulk}, "managedFields": [bulk],
            "ownerReferences": [{"kind": "ReplicaSet", "name": "x-1", "controller": True}],
        },
        "spec": {"containers": [{"name": "engine", "env": [{"name": "A", "value": bulk}]}], "volumes": [bulk]},
        "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False", "message": bulk}]},
    }  # fmt: skip
    world = World()
    world.put(pod)
    world.put({**_object("1", name="y", annotations={"a": bulk}), "kind": "ConfigMap"}, partial=True)
    kept = [world.get("Pod", "n", "x"), world.get("ConfigMap", "n", "y")]
    assert None not in kept
    assert len(str(kept)) < 5_000


def test_replicas_share_what_is_equal_of_them() -> None:
    world = World()
    for name in "ab":
        world.put(
            {
                "kind": "Pod",
                "metadata": {
                    **_object("1", name=name)["metadata"],
                    "labels": {"andante.dev/llmservice": "x"},
                    "ownerReferences": [{"kind": "ReplicaSet", "name": "x-1", "controller": True}],
                },
                "spec": {"containers": [{"name": "engine", "resources": {"limits": {"memory": "1Gi"}}}]},
                "status": {"phase": "Running", "podIP": f"10.0.0.{name}"},
            }
        )
    one, other = world.of_service("Pod", "n", "x")
    assert one["spec"] is other["spec"]
    assert one["metadata"]["ownerReferences"] is other["metadata"]["ownerReferences"]
    assert one["status"]["podIP"] != other["status"]["podIP"]


def test_what_is_kept_is_counted_by_kind() -> None:
    world = World()
    for name in "ab":
        world.put({**_object("1", name=name), "kind": "ConfigMap"})
        world.put({**_object("2", name=name), "kind": "ConfigMap"})
    world.drop({**_object("3", name="a"), "kind": "ConfigMap"})
    assert (world.count("ConfigMap"), world.count("Pod")) == (1, 0)
    world.replace("ConfigMap", [], version=9)
    assert world.count("ConfigMap") == 0
