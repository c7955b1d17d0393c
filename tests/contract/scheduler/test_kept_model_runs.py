"""A kept run on the compiled model is made anew when any of the code that it ran changes."""

from __future__ import annotations

import ast
from pathlib import Path

from benchmarks.scheduling.schedulers import MODEL_SOURCES, SCHEDULER_SOURCES

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "benchmarks/scheduling/model_runs.py"
ELSEWHERE = {"workload.py", "virtual_time.py"}
"""Of the harness, which is in every key."""


def test_what_the_model_imports_of_benchmarks_and_the_engine_is_in_the_key() -> None:
    imports = [node for node in ast.walk(ast.parse(MODEL.read_text())) if isinstance(node, ast.ImportFrom)]
    names = [str(node.module).replace(".", "/") for node in imports]
    needed = {ROOT / f"{name}.py" for name in names if name.startswith("benchmarks/")}
    needed |= {ROOT / f"engine_image/{name}.py" for name in names if name.startswith("andante_vllm/")}
    assert len(needed) >= 5
    known = {*MODEL_SOURCES, *SCHEDULER_SOURCES["edf"]}
    assert {path for path in needed if path.name not in ELSEWHERE} <= known
