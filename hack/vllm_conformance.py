"""Runs vLLM's own scheduler tests with our scheduler class, and compares the outcomes with those of vLLM's classes.

The tests come from vLLM's source distribution of the pinned version, which is downloaded once. There are three passes:
stock; our class without a policy, which must pass the same tests as stock; and our class with the policy `qoe`, where
each difference is listed. Some tests need models from the internet and fail in all three passes. Run it with
`make vllm-conformance`: one minute a pass, and eight more for test_priority_scheduler_random.py.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.results_file import write_result

from andante_vllm.tiny_model import make_model

VERSION = "0.32.0"
FILES = (
    "test_scheduler.py", "test_async_scheduler.py", "test_priority_scheduler_random.py",
    "test_priority_preemption_bug.py", "test_deferred_block_free.py", "test_prefix_caching.py", "test_output.py",
)  # fmt: skip
BUILD_REQUIREMENTS = (
    "pip", "setuptools==78.1.1", "setuptools_scm", "setuptools_rust", "wheel", "packaging", "jinja2", "regex", "cmake",
    "ninja",
)  # fmt: skip
MODELS = ("facebook/opt-125m", "facebook/opt-350m", "Qwen/Qwen2.5-VL-3B-Instruct")
PASSES = ("stock", "neutral", "qoe")
_SHORT_FIRST = "admits by value per cost: short prompts before a long one"
_CORE = "tests.v1.core"
REASONS = {
    f"{_CORE}.test_scheduler::test_schedule_order[True]": _SHORT_FIRST,
    f"{_CORE}.test_scheduler::test_schedule_order[False]": _SHORT_FIRST,
    f"{_CORE}.test_scheduler::test_preempt_during_execution": (
        "leaves 2 % of the KV cache free, so the second request waits and no request has to be preempted"
    ),
    f"{_CORE}.test_deferred_block_free::test_cow_retentions_deferred_until_copy_step_processed": (
        "leaves room for the first output token, so a prompt that fills the last free blocks exactly waits"
    ),
}
"""Why a test of vLLM has another outcome under the policy `qoe`. A difference that is not listed here fails the run."""
PLUGIN = '''"""Puts our scheduler classes where vLLM's tests import vLLM's; ANDANTE_CONFORMANCE says which."""
import os

import vllm.v1.core.sched.async_scheduler as async_module
import vllm.v1.core.sched.scheduler as sync_module

kind = os.environ["ANDANTE_CONFORMANCE"]
if kind != "stock":
    import andante_vllm.scheduler as ours
    from andante.domain.scheduling.qoe_policy import QoEPolicy
    from andante_vllm.scheduler_settings import SchedulerSettings

    if kind == "qoe":
        # Combinations that `qoe` refuses at start run stock here, as with policy fcfs.
        def settings(self):
            supported = (
                not self.use_pp and self.connector is None
                and self.policy.value == "fcfs" and not self.is_encoder_decoder
                and self.vllm_config.model_config.runner_type != "pooling"
                and not self.vllm_config.model_config.is_diffusion
            )
            return SchedulerSettings(policy=QoEPolicy() if supported else None, policy_name="qoe")

        ours.QoEScheduling.load_settings = settings
    sync_module.Scheduler = ours.SyncQoEScheduler
    async_module.AsyncScheduler = ours.AsyncQoEScheduler
'''


def cache_folder() -> Path:
    """The folder that keeps the tests and the model between runs."""
    root = os.environ.get("ANDANTE_CACHE") or str(Path.home() / ".cache" / "andante")
    return Path(root) / "vllm-conformance" / VERSION


def fetch_tests(folder: Path) -> Path:
    """vLLM's tests/ of the pinned version, from PyPI's source distribution."""
    tests = folder / "tests"
    if tests.exists():
        return tests
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / "download"
    environment = scratch / "environment"
    print("vllm-conformance: downloading vLLM's source distribution (45 MB) and what its metadata needs", flush=True)
    uv = str(Path(__file__).resolve().parent.parent / ".venv" / "bin" / "uv")
    subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(environment)], check=True)
    python = str(environment / "bin" / "python")
    subprocess.run([uv, "pip", "install", "-q", "--python", python, *BUILD_REQUIREMENTS], check=True)
    # setup.py imports torch to tell what to build; the engine environment has it.
    site = next(p for p in sys.path if p.endswith("site-packages"))
    target = next((environment / "lib").glob("python*")) / "site-packages" / "engine.pth"
    target.write_text(site + "\n")
    subprocess.run(
        [python, "-m", "pip", "download", "-q", f"vllm=={VERSION}", "--no-deps", "--no-binary", "vllm",
         "--no-build-isolation", "-d", str(scratch)],
        check=True, env={**os.environ, "VLLM_VERSION_OVERRIDE": VERSION, "VLLM_TARGET_DEVICE": "empty"},
    )  # fmt: skip
    archive = next(scratch.glob("vllm-*.tar.gz"))
    with tarfile.open(archive) as tar:
        top = archive.name.removesuffix(".tar.gz")
        tar.extractall(scratch, members=[m for m in tar if m.name.startswith(f"{top}/tests/")], filter="data")
    unpacked = scratch / top / "tests"
    (unpacked / "conftest.py").unlink(missing_ok=True)  # it loads models
    unpacked.rename(tests)
    shutil.rmtree(scratch)
    return tests


def model_redirect(folder: Path) -> Path:
    """Write a config and a tokenizer under the names of the models that the tests load."""
    from transformers import OPTConfig

    model = folder / "model"
    redirect = folder / "redirect.json"
    if not redirect.exists():
        make_model(model)
        OPTConfig(architectures=["OPTForCausalLM"]).save_pretrained(model)
        redirect.write_text(json.dumps({name: str(model) for name in MODELS}))
    return redirect


def run_pass(kind: str, tests: Path, redirect: Path, files: tuple[str, ...]) -> dict[str, str]:
    """Outcome of every test (`passed`, `failed`, `skipped`), by test id."""
    folder = tests.parent
    (folder / "andante_conformance.py").write_text(PLUGIN)
    report = folder / f"{kind}.xml"
    report.unlink(missing_ok=True)
    root = Path(__file__).resolve().parent.parent
    paths = [str(folder), str(root / "operator"), str(root / "engine_image")]
    environment = {
        **os.environ,
        "ANDANTE_CONFORMANCE": kind,
        "HF_HUB_OFFLINE": "1",
        "VLLM_MODEL_REDIRECT_PATH": str(redirect),
        "PYTHONPATH": os.pathsep.join(paths),
    }
    environment.pop("ANDANTE_ENGINE_CONFIG", None)
    print(f"vllm-conformance: {kind}", flush=True)
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "andante_conformance", "-p", "no:cacheprovider",
         "--tb=line", "--timeout=300", f"--junitxml={report}", "-c", "/dev/null", f"--rootdir={folder}",
         *(str(tests / "v1" / "core" / name) for name in files)],
        env=environment, cwd=folder, check=False,
    )  # fmt: skip
    outcomes = {}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314  written by our own pytest just now
        bad = any(case.find(kind_of) is not None for kind_of in ("failure", "error"))
        skipped = case.find("skipped") is not None
        name = f"{case.get('classname')}::{case.get('name')}"
        outcomes[name] = "failed" if bad else "skipped" if skipped else "passed"
    return outcomes


def main() -> int:
    """Return 0 when our class without a policy passes what stock passes, and the policy's differences are listed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument("--files", nargs="+", default=list(FILES))
    arguments = parser.parse_args()
    folder = cache_folder()
    tests, redirect = fetch_tests(folder), model_redirect(folder)
    outcomes = {kind: run_pass(kind, tests, redirect, tuple(arguments.files)) for kind in arguments.passes}
    rows = [
        [kind, *(sum(o == want for o in found.values()) for want in ("passed", "failed", "skipped"))]
        for kind, found in outcomes.items()
    ]
    stock = outcomes.get("stock", {})
    differences = {
        kind: sorted(name for name in stock if found.get(name) != stock[name])
        for kind, found in outcomes.items()
        if kind != "stock" and stock
    }
    for row in rows:
        print(f"{row[0]:8} passed {row[1]}, failed {row[2]}, skipped {row[3]}")
    for kind, names in differences.items():
        print(f"{kind}: {len(names)} tests end otherwise than with stock")
        for name in names:
            why = REASONS.get(name, "UNEXPLAINED") if kind == "qoe" else "UNEXPLAINED"
            print(f"  {name}: {stock[name]} -> {outcomes[kind].get(name, 'not run')}: {why}")
    if set(arguments.passes) == set(PASSES):
        write_result(
            "conformance",
            headline={"neutral_differences": len(differences["neutral"]), "qoe_differences": len(differences["qoe"])},
            settings={"vllm": VERSION, "files": arguments.files},
            figures={
                "differences": differences,
                "reasons": REASONS,
                "stock_failed": sorted(n for n, o in stock.items() if o == "failed"),
            },
            table=(["class", "passed", "failed", "skipped"], rows),
            packages=["vllm", "pytest"],
        )
    unexplained = set(differences.get("qoe", [])) - set(REASONS)
    return 1 if differences.get("neutral") or unexplained or not stock else 0


if __name__ == "__main__":
    sys.exit(main())
