"""An image with another vLLM serves all the same, without the parts that do not fit, and says so."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hack.engine_process import EngineProcess

from contract.conftest import CONFIG, QOE, total
from other_vllm import make_other_vllm

PROBE = """
import dataclasses, json
from andante_vllm.compat import examine
print(json.dumps(dataclasses.asdict(examine())))
"""


def _other(folder: Path, *, version: str = "0.32.0", renamed: Mapping[str, str] | None = None) -> Path:
    found = importlib.util.find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    return make_other_vllm(folder, installed=Path(found.origin).parent, version=version, renamed=renamed or {})


def _examine(*python_path: Path) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, python_path))},
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def test_the_pinned_vllm_carries_everything() -> None:
    assert _examine() == {"scheduler": "", "meter": ""}


def test_a_newer_version_that_has_all_names_keeps_the_meter_alone(tmp_path: Path) -> None:
    found = _examine(_other(tmp_path, version="0.33.0"))
    assert found == {"scheduler": "untested vLLM 0.33.0 (tested: 0.32.0)", "meter": ""}


def test_a_changed_build_of_the_tested_version_is_noticed_by_its_names(tmp_path: Path) -> None:
    found = _examine(_other(tmp_path, renamed={"FCFSRequestQueue": "ArrivalOrderQueue"}))
    assert "vllm.v1.core.sched.request_queue has no FCFSRequestQueue" in found["scheduler"]
    assert found["meter"] == ""


@pytest.mark.timeout(400)
def test_a_vllm_without_our_names_serves_as_stock_and_says_so(tmp_path: Path) -> None:
    gone = {"FCFSRequestQueue": "ArrivalOrderQueue", "VLLMClientError": "CallerError"}
    other = _other(tmp_path, version="0.33.1", renamed=gone)
    with EngineProcess(CONFIG, qoe=QOE, environment={"PYTHONPATH": str(other)}) as engine:
        body = {"model": "tiny", "prompt": "Hello", "max_tokens": 8, "ignore_eos": True}
        answer = httpx.post(f"{engine.url}/v1/completions", json=body, timeout=60.0).raise_for_status().json()
        metrics, log = engine.metrics(), engine.log
    assert answer["usage"]["completion_tokens"] == 8
    reasons = {dict(labels)["reason"]: value for (name, labels), value in metrics.items() if name.endswith("_active")}
    assert reasons == {"untested vLLM 0.33.1 (tested: 0.32.0)": 0.0}
    assert total(metrics, "andante_requests_total") == 0
    assert "QoE scheduling OFF" in log
    assert "delivery meter OFF" in log
