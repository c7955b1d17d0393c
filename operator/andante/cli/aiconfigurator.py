"""Asks AIConfigurator, which knows the measured kernels of many GPUs, about a model on a GPU.

Only this file imports it. It is an extra (`estimate`), and slow to import: what it knows is read from its folder, and
it is imported when it is asked.
Of its two packages the core is enough (docs/decisions/0028-aiconfigurator-is-an-extra.md).
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from andante.cli.errors import InputError
from andante.domain.step_time import host_step_seconds
from andante.estimate.steps import Step

PACKAGE: Final = "aiconfigurator_core"
INSTALL: Final = "pip install 'andante[cli,estimate]' (for Linux on x86-64, Python 3.11 to 3.13)"
BACKEND: Final = "vllm"
_UTILISATION = 0.9
"""Share of the GPU's memory that an engine takes: vLLM's default."""
_ANY_CHUNK = 64
"""Prefill tokens of a mixed step that is asked only for its decode attention, which does not depend on them."""
_SAME_SHAPE: Final = {
    "meta-llama/Meta-Llama-3-8B": "meta-llama/Meta-Llama-3.1-8B",
    "meta-llama/Meta-Llama-3-70B": "meta-llama/Meta-Llama-3.1-70B",
}
"""Models that it lacks and a model with the same layers that it has: their steps take the same time."""
_REFUSALS = (ValueError, RuntimeError, AssertionError, LookupError)
"""What it raises for a model, GPU or split that it cannot estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of one of the replica's GPUs, in bytes."""

    capacity: int
    weights: int
    kv_bytes_per_token: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanValue:
    """The most that one replica does within the limits, if each request is the mean one and none comes in a burst."""

    requests_per_second: float
    concurrency: int
    """Requests in the replica at a time."""
    ttft_seconds: float
    tpot_seconds: float


def installed() -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def needs_aiconfigurator(command: str) -> None:
    """Raise InputError where it is missing."""
    if not installed():
        raise InputError(f"{command} needs AIConfigurator: {INSTALL}")


def _folder(name: str) -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"AIConfigurator is missing: {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / name


def known_models() -> list[str]:
    """The models whose configuration it brings."""
    ending = "_config.json"
    names = (path.name for path in _folder("model_configs").glob(f"*{ending}") if "hf_quant" not in path.name)
    return sorted(name.removesuffix(ending).replace("--", "/", 1) for name in names)


def known_systems() -> list[str]:
    """The GPUs of which it has kernel times of vLLM."""
    return sorted({path.parent.parent.name for path in _folder("systems/data").glob(f"*/*/{BACKEND}")})


def model_of(name: str) -> str | None:
    """What it calls the model; None: it does not know it. A folder with the model's config.json is its own name."""
    if (Path(name) / "config.json").is_file():
        return name
    known = _SAME_SHAPE.get(name, name)
    return known if known in known_models() else None


def system_of(gpu: str) -> str | None:
    """What it calls the GPU, also for a name as profiles have it (H100-SXM5-80GB); None: it knows none, or several."""
    given = [re.sub(r"^sxm\d$", "sxm", part) for part in re.split(r"[-_ ]", gpu.lower())]
    found = [name for name in known_systems() if all(part in given for part in name.split("_"))]
    return found[0] if len(found) == 1 else None


class Replica:
    """One replica: a model on `tensor_parallel` GPUs of a kind. Raises InputError where it cannot be estimated."""

    def __init__(self, model: str, gpu: str, tensor_parallel: int) -> None:
        self.model, self.system = self._names(model, gpu)
        self.tensor_parallel = tensor_parallel
        self.package_version = version("aiconfigurator-core")
        # It warns of tables of other backends that it reads and that are not asked for.
        logging.getLogger(PACKAGE).setLevel(logging.ERROR)
        with self._refusals():
            from aiconfigurator_core.sdk.perf_database import resolve_query_version

            self.data_version = str(resolve_query_version(self.system, BACKEND, "current"))
        self._parts: dict[tuple[int, int, int], tuple[float, float, float, float]] = {}
        self._engine: Any = None

    @property
    def split(self) -> dict[str, int]:
        """How the model is split: experts as all else, as vLLM does unless it is told otherwise."""
        return {"tp_size": self.tensor_parallel, "moe_tp_size": self.tensor_parallel, "moe_ep_size": 1}

    @property
    def data(self) -> str:
        """Whose kernel times answer, in words."""
        return f"aiconfigurator-core {self.package_version}, {self.system}, {BACKEND} {self.data_version}"

    def seconds(self, step: Step) -> float:
        """Time of the step. It knows the GPU's part; the host's is added as in the shipped profiles."""
        with self._refusals():
            return 1e-3 * self._milliseconds(step) + host_step_seconds(step.sequences)

    def memory(self, *, max_num_batched_tokens: int) -> Memory:
        """What fills a GPU's memory."""
        with self._refusals():
            from aiconfigurator_core.sdk import estimate_kv_cache

            found = estimate_kv_cache(
                self.model, self.system, BACKEND, self.data_version, max_num_tokens=max_num_batched_tokens,
                max_batch_size=1, memory_fraction_kind="of_total", memory_fraction_value=_UTILISATION, **self.split,
            )  # fmt: skip
        return Memory(
            capacity=found["total_gpu_capacity_bytes"],
            weights=found["memory_breakdown"]["weights_bytes"],
            # Its own figure for a token has the constant state of a sequence in it, where a model has one.
            kv_bytes_per_token=found["total_kv_size_bytes"] / found["total_kv_size_tokens"],
        )

    def mean_value(
        self, *, prompt_tokens: int, output_tokens: int, ttft: float, tpot: float, max_num_seqs: int
    ) -> MeanValue | None:
        """The most requests per second within the TTFT and the time per output token, in seconds; None: not one."""
        with self._refusals():
            from aiconfigurator_core.sdk.backends.factory import get_backend
            from aiconfigurator_core.sdk.config import RuntimeConfig
            from aiconfigurator_core.sdk.config_builders import build_model_config
            from aiconfigurator_core.sdk.models import get_model
            from aiconfigurator_core.sdk.perf_database import get_database

            config = build_model_config(pp_size=1, attention_dp_size=1, **self.split)
            limits = RuntimeConfig(isl=prompt_tokens, osl=output_tokens, ttft=1e3 * ttft, tpot=1e3 * tpot)
            found = get_backend(BACKEND).find_best_agg_result_under_constraints(
                get_model(self.model, config, BACKEND),
                get_database(self.system, BACKEND, self.data_version),
                limits,
                max_batch_size=max_num_seqs,
            )
            rows = found.get_summary_df().to_dict("records")
        if not rows:
            return None
        best = rows[0]
        return MeanValue(
            requests_per_second=float(best["seq/s"]),
            concurrency=int(best["concurrency"]),
            ttft_seconds=1e-3 * float(best["ttft"]),
            tpot_seconds=1e-3 * float(best["tpot"]),
        )

    def _milliseconds(self, step: Step) -> float:
        engine = self._compiled()
        if not step.prefill_tokens:
            return float(engine.predict_decode_latency(step.decode_seqs, step.context))
        # Its mixed step has no chunk after a part in the cache: the chunk's own step, and what the decodes add to it.
        chunk = engine.predict_prefill_latency(1, step.offset + step.prefill_tokens, step.offset)
        if not step.decode_seqs:
            return float(chunk)
        shared = self._breakdown(step.prefill_tokens, step.decode_seqs, step.prefill_tokens)[1]
        alone = self._breakdown(step.prefill_tokens, 0, step.prefill_tokens)[1]
        attention = self._breakdown(_ANY_CHUNK, step.decode_seqs, step.context)[3]
        return float(chunk + shared - alone + attention)

    def _breakdown(self, prefill: int, decode: int, length: int) -> tuple[float, float, float, float]:
        """Milliseconds of a mixed step: all, without attention, prefill attention, decode attention at that length."""
        key = (prefill, decode, length)
        if key not in self._parts:
            self._parts[key] = self._compiled().mixed_step_breakdown(prefill, decode, length, 2)
        return self._parts[key]

    def _compiled(self) -> Any:
        if self._engine is None:
            from aiconfigurator_core.sdk import EngineHandle

            self._engine = EngineHandle.compile(
                self.model, self.system, BACKEND, backend_version=self.data_version, **self.split
            )
        return self._engine

    @staticmethod
    def _names(model: str, gpu: str) -> tuple[str, str]:
        known, system = model_of(model), system_of(gpu)
        if known is None:
            near = difflib.get_close_matches(model, known_models(), n=3, cutoff=0.3)
            raise InputError(
                f"MODEL: AIConfigurator brings no configuration of {model}; name one that it has"
                f" ({', '.join(near) or 'for example ' + known_models()[0]}), or a folder with the model's config.json"
            )
        if system is None:
            raise InputError(f"GPU: AIConfigurator does not know {gpu}; it knows {', '.join(known_systems())}")
        return known, system

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except _REFUSALS as error:
            look = "Look into its config.json, or try" if Path(self.model).is_dir() else "Try"
            raise InputError(
                f"AIConfigurator cannot estimate {self.model} on {self.tensor_parallel} x {self.system}:"
                f" {str(error).strip().rstrip('.')}. {look} another GPU, or another number of them"
            ) from error
