"""AIConfigurator as it answered once: a package of its name that knows what the tests ask and nothing else.

The real one is large (docs/decisions/0028-aiconfigurator-is-an-extra.md). `make estimate-record` writes its answers,
`make estimate-check` compares them with it.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

RECORDED = Path(__file__).with_name("aiconfigurator_answers.json")
PACKAGE = "aiconfigurator_core"
ESTIMATED = (
    ("meta-llama/Meta-Llama-3-8B", "H100-SXM5-80GB", 1),
    ("meta-llama/Meta-Llama-3.1-8B", "l40s", 1),
    ("Qwen/Qwen3-30B-A3B", "h200_sxm", 1),
    ("Qwen/Qwen3-32B", "h100_sxm", 3),
    ("Qwen/Qwen3-32B", "l40s", 1),
)
"""(model, GPU, number of GPUs) that tests estimate; the last two cannot be."""
_SHORT: dict[str, Any] = {"prompt_tokens": 50, "output_tokens": 20, "tpot": 1 / 4.8, "max_num_seqs": 4}
_PAGE: dict[str, Any] = {"prompt_tokens": 904, "output_tokens": 232, "tpot": 1 / 4.8, "max_num_seqs": 1024}
MEAN_VALUES = (
    (ESTIMATED[0], _SHORT | {"ttft": 0.5}),
    (ESTIMATED[0], _SHORT | {"ttft": 0.001}),
    (ESTIMATED[0], _PAGE | {"ttft": 1.0}),
)
"""Questions of `andante plan` in tests; the second cannot be met, the third is that of docs/how-to/sizing.md."""
ERRORS = {"ValueError": ValueError, "AssertionError": AssertionError, "RuntimeError": RuntimeError}


def key(function: str, *asked: object) -> str:
    """The name of a question."""
    return f"{function} {json.dumps(asked)}"


def install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make it the installed one, in `folder`."""
    document = json.loads(RECORDED.read_text())
    root = folder / PACKAGE
    for model in document["models"]:
        _write(root / "model_configs" / f"{model.replace('/', '--')}_config.json", "{}")
    for system in document["systems"]:
        _write(root / "systems/data" / system / "gemm/vllm/rows", "")
    for module, names in _MODULES.items():
        text = "".join(f"from unit.recorded_aiconfigurator import {ours} as {name}\n" for name, ours in names.items())
        _write(root / module, text)
    metadata = f"Metadata-Version: 2.1\nName: aiconfigurator-core\nVersion: {document['version']}\n"
    _write(folder / f"{PACKAGE}-{document['version']}.dist-info/METADATA", metadata)
    _forget(monkeypatch)
    for module in _MODULES:  # what a test imports is forgotten after it, or the next test would find it installed
        name = ".".join((PACKAGE, *Path(module).with_suffix("").parts)).removesuffix(".__init__")
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    monkeypatch.syspath_prepend(folder)


def remove(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it missing."""
    _forget(monkeypatch)
    monkeypatch.setitem(sys.modules, PACKAGE, None)


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    importlib.invalidate_caches()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _answer(function: str, *asked: object) -> Any:
    found = _answers().get(key(function, *asked))
    if found is None:
        pytest.fail(f"not recorded, run `make estimate-record`: {key(function, *asked)}")
    if "error" in found:
        raise ERRORS[found["error"]](found["text"])
    return found["answer"]


@functools.cache
def _answers() -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(RECORDED.read_text())["answers"]
    return answers


class EngineHandle:
    """Its compiled engine."""

    def __init__(self, *names: object) -> None:
        self._names = names

    @classmethod
    def compile(cls, model: str, system: str, backend: str, *, backend_version: str, **split: int) -> EngineHandle:
        return cls(model, system, split["tp_size"])

    def predict_decode_latency(self, *asked: int) -> Any:
        return _answer("decode", *self._names, *asked)

    def predict_prefill_latency(self, *asked: int) -> Any:
        return _answer("prefill", *self._names, *asked)

    def mixed_step_breakdown(self, *asked: int) -> Any:
        return _answer("mixed", *self._names, *asked)


def estimate_kv_cache(*asked: object, **more: object) -> Any:
    return _answer("memory", *asked, more)


def resolve_query_version(*asked: object) -> Any:
    return _answer("version", *asked)


def get_database(system: str, backend: str, version: str) -> SimpleNamespace:
    return SimpleNamespace(system=system, backend=backend, version=version)


def build_model_config(**fields: Any) -> SimpleNamespace:
    return SimpleNamespace(**fields)


def get_model(model: str, config: SimpleNamespace, backend: str) -> SimpleNamespace:
    return SimpleNamespace(model_path=model, config=config)


class Limits(SimpleNamespace):
    """Its RuntimeConfig."""


def get_backend(name: str) -> SimpleNamespace:
    return SimpleNamespace(find_best_agg_result_under_constraints=_best)


def _best(model: Any, database: Any, limits: Any, *, max_batch_size: int) -> SimpleNamespace:
    rows = _answer("best", *best_key(model, database, limits, max_batch_size))
    return SimpleNamespace(get_summary_df=lambda: SimpleNamespace(to_dict=lambda how: rows))


def best_key(model: Any, database: Any, limits: Any, max_batch_size: int) -> tuple[object, ...]:
    """What the question for the best batch depends on."""
    return (
        model.model_path, model.config.tp_size, database.system, database.version, limits.isl, limits.osl,
        limits.ttft, limits.tpot, max_batch_size,
    )  # fmt: skip


_MODULES: dict[str, dict[str, str]] = {
    "__init__.py": {},
    "sdk/__init__.py": {"EngineHandle": "EngineHandle", "estimate_kv_cache": "estimate_kv_cache"},
    "sdk/perf_database.py": {"resolve_query_version": "resolve_query_version", "get_database": "get_database"},
    "sdk/config.py": {"RuntimeConfig": "Limits"},
    "sdk/config_builders.py": {"build_model_config": "build_model_config"},
    "sdk/models.py": {"get_model": "get_model"},
    "sdk/backends/__init__.py": {},
    "sdk/backends/factory.py": {"get_backend": "get_backend"},
}
