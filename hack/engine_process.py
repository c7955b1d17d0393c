"""Starts and stops one real engine on this machine, for contract tests and benchmarks. Runs in the engine environment.

`with EngineProcess(config) as engine:` starts a server on a free port. Its log and metric files stay in `engine.folder`
until the block ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from andante.engine_config import EngineConfig
from andante.profiles import load_profiles
from andante_vllm.launch import METER_MIDDLEWARE, Folders, plan_launch
from andante_vllm.tiny_model import make_model
from andante_vllm.virtual_start import METHOD_VARIABLE
from hack.free_ports import free_ports

ROOT = Path(__file__).resolve().parent.parent
_CORE = "VLLM::EngineCor"  # Linux keeps 15 characters
START_SECONDS = 280.0
STOP_SECONDS = 60.0
VLLM_CACHE = Path(sys.prefix) / "vllm-cache"
"""Shared by all engines of this environment; vLLM looks by the content of its sources whether an entry still holds."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class EngineStartError(RuntimeError):
    """The engine did not become ready; the message ends with its log."""


def parse_metrics(text: str) -> Samples:
    """Every sample of a Prometheus text by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class EngineProcess:
    """One `andante-engine serve`; with `meter=False` the same vLLM command without the delivery meter."""

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        qoe: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        meter: bool = True,
        entry: Sequence[str] = (sys.executable, "-m", "andante_vllm.cli"),
    ) -> None:
        """`config` and `qoe`: engine.yaml and qoe.yaml, without host and port. `entry`: starts the engine."""
        self.folder = Path(tempfile.mkdtemp(prefix="andante-test-engine-"))
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_path = self.folder / "engine.yaml"
        self.qoe_path = self.folder / "qoe.yaml"
        self.log_path = self.folder / "log"
        self._config = {**config, "host": "127.0.0.1", "port": self.port}
        self._environment = dict(environment or {})
        self._meter = meter
        self._entry = entry
        self._process: subprocess.Popen[bytes] | None = None
        self.config_path.write_text(yaml.safe_dump(self._config))
        if qoe is not None:
            self.qoe_path.write_text(yaml.safe_dump(dict(qoe)))

    @property
    def pid(self) -> int:
        """Pid of the API server process."""
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process.pid

    @property
    def core_pid(self) -> int:
        """Pid of the engine core, which is a child of the API server."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        (core,) = (int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == _CORE)
        return core

    @property
    def metrics_folder(self) -> Path:
        return Path(tempfile.gettempdir()) / f"andante-engine-{self.port}" / "metrics"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def __enter__(self) -> Self:
        command, environment = self._command()
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clean_up()

    def _clean_up(self) -> None:
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.metrics_folder.parent, ignore_errors=True)

    def _command(self) -> tuple[list[str], dict[str, str]]:
        # vLLM sets it for this process where a test has an engine in it; to a new engine it would be a person's choice.
        inherited = {name: value for name, value in os.environ.items() if name != METHOD_VARIABLE}
        environment = {
            **inherited,
            "ANDANTE_ENGINE_CACHE": str(self.folder / "cache"),
            # What vLLM finds out about a model's class, at an empty cache, takes it a third of its start.
            "VLLM_CACHE_ROOT": str(VLLM_CACHE),
            **self._environment,
        }
        # Use the code of this tree, even if another tree used the shared engine environment last.
        roots = [str(ROOT / "operator"), str(ROOT / "engine_image")]
        environment["PYTHONPATH"] = os.pathsep.join([*roots, *filter(None, [environment.get("PYTHONPATH")])])
        if self._meter:
            return [*self._entry, "serve", "--config", str(self.config_path)], environment
        folders = Folders(cache=Path(environment["ANDANTE_ENGINE_CACHE"]), metrics=self.metrics_folder)
        launch = plan_launch(
            EngineConfig.model_validate(self._config),
            config_path=self.config_path,
            folders=folders,
            profiles=load_profiles(),
        )
        arguments = list(launch.arguments)
        del arguments[arguments.index("--middleware") : arguments.index(METER_MIDDLEWARE) + 1]
        self.metrics_folder.mkdir(parents=True)
        if launch.synthetic_max_model_len is not None:
            make_model(folders.synthetic_model, max_model_len=launch.synthetic_max_model_len)
        return (
            [sys.executable, "-m", "vllm.entrypoints.cli.main", *arguments],
            {**launch.default_environment, **environment, **launch.environment},
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise EngineStartError(f"the engine ended before it was ready:\n{self.log[-4000:]}")
            try:
                if httpx.get(f"{self.url}/health", timeout=2.0).status_code == 200:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.2)
        raise EngineStartError(f"the engine was not ready after {START_SECONDS:.0f} s:\n{self.log[-4000:]}")

    def terminate(self) -> None:
        """Send SIGTERM, as the kubelet does, and do not wait."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait until the process has ended; return its exit status."""
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process.wait(STOP_SECONDS)

    def _kill(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # its own session: only API server and engine core
        self._process.wait(STOP_SECONDS)

    def metrics(self) -> Samples:
        """The metrics that the server's own /metrics shows now."""
        response = httpx.get(f"{self.url}/metrics", timeout=10.0)
        response.raise_for_status()
        return parse_metrics(response.text)

    def metrics_left_behind(self) -> Samples:
        """The metrics of an engine that has ended, from the files of its last start."""
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self.metrics_folder))  # type: ignore[no-untyped-call]
        return parse_metrics(generate_latest(registry).decode())
