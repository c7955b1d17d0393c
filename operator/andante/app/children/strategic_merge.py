"""Applies Kubernetes' strategic merge patch to pod templates, as `kubectl patch` does on a live object.

No Python library does this, and the API server can only patch objects that exist. One test lets the real API server
apply the same patches; another test compares `MERGE_KEYS` with the API server's OpenAPI document.

Directives: `$patch: delete | replace | merge` in maps and list entries, `$retainKeys`, null deletes a field. One step
beyond Kubernetes: `$patch: delete` in a field's map removes the field, where Kubernetes leaves an empty map; `kubectl
apply` drops nulls from custom resources, so null alone would not do. The directives that only kubectl computes
(`$setElementOrder`, `$deleteFromPrimitiveList`) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"

MERGE_KEYS: Final[Mapping[tuple[str, ...], str]] = {
    ("spec", "containers"): "name",
    ("spec", "initContainers"): "name",
    ("spec", "ephemeralContainers"): "name",
    ("spec", "volumes"): "name",
    ("spec", "imagePullSecrets"): "name",
    ("spec", "hostAliases"): "ip",
    ("spec", "topologySpreadConstraints"): "topologyKey",
    ("spec", "resourceClaims"): "name",
    ("spec", "schedulingGates"): "name",
    ("spec", "volumes", "ephemeral", "volumeClaimTemplate", "metadata", "ownerReferences"): "uid",
    **{
        ("spec", kind, field): key
        for kind in ("containers", "initContainers", "ephemeralContainers")
        for field, key in (
            ("env", "name"),
            ("ports", "containerPort"),
            ("volumeMounts", "mountPath"),
            ("volumeDevices", "devicePath"),
        )
    },
}
"""Lists of a pod template that merge entry by entry: path of field names -> field that identifies an entry.
Every other list (tolerations, command, envFrom …) is replaced as a whole."""


class PatchError(ValueError):
    """A patch cannot be applied; `path` is the field, such as spec.containers[engine].env, `problem` what is wrong."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path or '(patch)'}: {problem}")
        self.path = path
        self.problem = problem


def strategic_merge(
    original: Mapping[str, Any],
    patch: Mapping[str, Any],
    *,
    merge_keys: Mapping[tuple[str, ...], str] = MERGE_KEYS,
) -> dict[str, Any]:
    """Return `original` with `patch` applied; neither argument is changed. Raises PatchError."""
    return _Merge(merge_keys).maps(original, patch, (), "")


class _Merge:
    def __init__(self, merge_keys: Mapping[tuple[str, ...], str]) -> None:
        self._merge_keys = merge_keys

    def maps(
        self, original: Mapping[str, Any], patch: Mapping[str, Any], fields: tuple[str, ...], path: str
    ) -> dict[str, Any]:
        directive = patch.get(_DIRECTIVE, "merge")
        if directive == "delete":
            return {}
        if directive == "replace":
            return self.maps({}, _without(patch, _DIRECTIVE), fields, path)
        if directive != "merge":
            raise PatchError(path, f"$patch must be merge, replace or delete, got {directive!r}")
        kept = self._retained(original, patch, path)
        for name, value in patch.items():
            if name in (_DIRECTIVE, _RETAIN):
                continue
            if name.startswith("$"):
                raise PatchError(path, f"unknown directive {name!r}; $patch and $retainKeys are supported")
            if value is None or (isinstance(value, Mapping) and value.get(_DIRECTIVE) == "delete"):
                kept.pop(name, None)
                continue
            kept[name] = self._value(kept.get(name), value, (*fields, name), f"{path}.{name}".lstrip("."))
        return kept

    def _value(self, original: Any, patch: Any, fields: tuple[str, ...], path: str) -> Any:
        if isinstance(patch, Mapping):
            return self.maps(original if isinstance(original, Mapping) else {}, patch, fields, path)
        if isinstance(patch, list | tuple):
            key = self._merge_keys.get(fields)
            if key is None:
                return [_plain(item, path) for item in patch]
            return self._entries(original if isinstance(original, list | tuple) else [], patch, fields, path, key)
        return patch

    def _entries(
        self, original: Sequence[Any], patch: Sequence[Any], fields: tuple[str, ...], path: str, key: str
    ) -> list[Any]:
        for entry in patch:
            if not isinstance(entry, Mapping):
                raise PatchError(path, f"entries must be objects with the field {key!r}, got {entry!r}")
        if any(entry.get(_DIRECTIVE) == "replace" and key not in entry for entry in patch):
            rest = [entry for entry in patch if entry.get(_DIRECTIVE) != "replace"]
            return self._entries([], rest, fields, path, key)
        merged = {entry[key]: entry for entry in original}
        server_order = list(merged)
        patch_order: list[Any] = []
        seen: set[Any] = set()
        for entry in patch:
            identity = entry.get(key)
            if not isinstance(identity, str | int):
                raise PatchError(
                    path, f"every entry needs the field {key!r} (text or a number), which tells them apart"
                )
            if identity in seen:
                raise PatchError(f"{path}[{identity}]", f"stands twice in the patch; each {key} may stand there once")
            seen.add(identity)
            if entry.get(_DIRECTIVE) == "delete":
                merged.pop(identity, None)
                continue
            merged[identity] = self.maps(merged.get(identity, {}), entry, fields, f"{path}[{identity}]")
            patch_order.append(identity)
        untouched = [name for name in server_order if name in merged and name not in patch_order]
        return [merged[name] for name in _interleave(patch_order, untouched, server_order)]

    @staticmethod
    def _retained(original: Mapping[str, Any], patch: Mapping[str, Any], path: str) -> dict[str, Any]:
        if _RETAIN not in patch:
            return dict(original)
        names = patch[_RETAIN]
        if not isinstance(names, list | tuple) or any(n not in names for n in patch if n not in (_RETAIN, _DIRECTIVE)):
            raise PatchError(path, "$retainKeys must list every field that the patch sets here")
        return {name: value for name, value in original.items() if name in names}


def _interleave(patched: list[Any], untouched: list[Any], server_order: list[Any]) -> list[Any]:
    """Order the patch's entries as in the patch and the others as on the server. An untouched entry comes before a
    patched one only where it did so on the server. So new entries come to the front, as in Kubernetes."""
    place = {name: index for index, name in enumerate(server_order)}
    ordered: list[Any] = []
    left, right = list(patched), list(untouched)
    while left and right:
        untouched_first = left[0] in place and place[right[0]] < place[left[0]]
        ordered.append((right if untouched_first else left).pop(0))
    return ordered + left + right


def _plain(value: Any, path: str) -> Any:
    """An entry of a list that is replaced as a whole, without nulls: a null has nothing to delete there."""
    if isinstance(value, Mapping):
        if any(name.startswith("$") for name in value):
            raise PatchError(path, "this list is replaced as a whole, so its entries take no $ directives")
        return {name: _plain(item, path) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item, path) for item in value]
    return value


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}
