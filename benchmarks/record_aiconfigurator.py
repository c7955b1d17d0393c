"""Records what AIConfigurator answers to the questions of the unit tests, or compares it with the record.

    make estimate-record
    make estimate-check

Runs where `make estimate-env` has installed it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from andante.cli.aiconfigurator import Replica, known_models, known_systems
from andante.cli.errors import InputError
from andante.cli.estimate_command import compared, estimated
from unit.recorded_aiconfigurator import ERRORS, ESTIMATED, MEAN_VALUES, RECORDED, best_key, key

_SIGNIFICANT = 6
_NEAR = 1e-4
"""Relative difference of answers that counts as none: they are interpolated in the processor's own arithmetic."""


@contextmanager
def recording() -> Iterator[dict[str, Any]]:
    """The real one with its answers kept, each under its `key`."""
    from aiconfigurator_core import sdk
    from aiconfigurator_core.sdk import perf_database
    from aiconfigurator_core.sdk.backends import factory

    kept: dict[str, Any] = {}

    def keep(name: str, call: Any) -> Any:
        try:
            answer = call()
        except tuple(ERRORS.values()) as error:
            kind = next(kind for kind, each in ERRORS.items() if isinstance(error, each))
            kept[name] = {"error": kind, "text": str(error)}
            raise
        kept[name] = {"answer": answer}
        return answer

    class Kept:
        def __init__(self, engine: Any, *names: object) -> None:
            self._engine, self._names = engine, names

        @classmethod
        def compile(cls, model: str, system: str, backend: str, *, backend_version: str, **split: int) -> Kept:
            engine = real_engine.compile(model, system, backend, backend_version=backend_version, **split)
            return cls(engine, model, system, split["tp_size"])

        def predict_decode_latency(self, *asked: int) -> Any:
            return keep(key("decode", *self._names, *asked), lambda: self._engine.predict_decode_latency(*asked))

        def predict_prefill_latency(self, *asked: int) -> Any:
            return keep(key("prefill", *self._names, *asked), lambda: self._engine.predict_prefill_latency(*asked))

        def mixed_step_breakdown(self, *asked: int) -> Any:
            return keep(key("mixed", *self._names, *asked), lambda: self._engine.mixed_step_breakdown(*asked))

    def backend(name: str) -> SimpleNamespace:
        real = real_backend(name)

        def best(model: Any, database: Any, limits: Any, *, max_batch_size: int) -> SimpleNamespace:
            def call() -> list[dict[str, float]]:
                found = real.find_best_agg_result_under_constraints(
                    model, database, limits, max_batch_size=max_batch_size
                )
                rows = found.get_summary_df()[["seq/s", "concurrency", "ttft", "tpot"]].to_dict("records")
                return [{name: float(value) for name, value in row.items()} for row in rows]

            rows = keep(key("best", *best_key(model, database, limits, max_batch_size)), call)
            return SimpleNamespace(get_summary_df=lambda: SimpleNamespace(to_dict=lambda how: rows))

        return SimpleNamespace(find_best_agg_result_under_constraints=best)

    real_engine, real_memory = sdk.EngineHandle, sdk.estimate_kv_cache
    real_version, real_backend = perf_database.resolve_query_version, factory.get_backend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdk, "EngineHandle", Kept)
        patch.setattr(
            sdk,
            "estimate_kv_cache",
            lambda *asked, **more: keep(key("memory", *asked, more), lambda: real_memory(*asked, **more)),
        )
        patch.setattr(
            perf_database,
            "resolve_query_version",
            lambda *asked, **more: keep(key("version", *asked), lambda: real_version(*asked, **more)),
        )
        patch.setattr(factory, "get_backend", backend)
        yield kept


def asked() -> dict[str, Any]:
    """Its version, what it knows, and its answers."""
    with recording() as answers:
        for model, gpu, tp in ESTIMATED:
            with suppress(InputError):
                replica = Replica(model, gpu, tp)
                profile, _ = estimated(replica, model=model, gpu=gpu)
                compared(replica, profile)
        for (model, gpu, tp), question in MEAN_VALUES:
            Replica(model, gpu, tp).mean_value(**question)
    version = Replica(*ESTIMATED[0]).package_version
    return {"version": version, "models": known_models(), "systems": known_systems(), "answers": _short(answers)}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_short(each) for each in value]
    return float(f"{value:.{_SIGNIFICANT}g}") if isinstance(value, float) else value


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=_NEAR)
    return bool(one == other)


def main() -> int:
    """Return 0 when the file was written, or agrees with AIConfigurator; else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    check = parser.parse_args().check
    found = asked()
    if not check:
        RECORDED.write_text(json.dumps(found, indent=0) + "\n")
        print(f"wrote {RECORDED}")
        return 0
    same = _same(json.loads(RECORDED.read_text()), found)
    print("AIConfigurator answers as recorded" if same else f"AIConfigurator answers otherwise than {RECORDED} says")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
