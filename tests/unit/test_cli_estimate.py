"""`andante profile estimate`: a step-time profile from AIConfigurator's answers, which are recorded."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from andante.cli.aiconfigurator import Memory, Replica, model_of, system_of
from andante.cli.estimate_command import kv_capacity_tokens
from andante.domain.step_time import host_step_seconds
from andante.estimate.steps import Step
from andante.profiles import load_profiles
from unit.recorded_aiconfigurator import EngineHandle, install, remove
from unit.run_cli import run_cli

GIB = 2**30
LLAMA = ("meta-llama/Meta-Llama-3-8B", "H100-SXM5-80GB")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AIConfigurator is installed, and answers as recorded."""
    install(monkeypatch, tmp_path / "packages")


def _estimate(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: object) -> int:
    return run_cli(monkeypatch, "profile", "estimate", *options, "--out", folder / "new.yaml")


@pytest.mark.usefixtures("recorded")
def test_a_profile_is_written_that_says_it_is_an_estimate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _estimate(monkeypatch, tmp_path, *LLAMA, "--price", 3.5) == 0
    (profile,) = load_profiles(tmp_path / "new.yaml").values()
    assert profile.name == "meta-llama-3-8b-1xh100-sxm5-80gb-estimate"
    assert (profile.model, profile.gpu, profile.tensor_parallel) == (*LLAMA, 1)
    assert profile.price_per_replica_hour == 3.5
    assert "no engine was run" in profile.confidence
    assert "no form for this model" not in profile.confidence
    assert "aiconfigurator-core 0.12.0, h100_sxm, vllm 0.24.0" in profile.source
    (entry,) = yaml.safe_load((tmp_path / "new.yaml").read_text())["profiles"]
    assert entry["estimated_with"] == {
        "package": "aiconfigurator-core", "version": "0.12.0", "model": "meta-llama/Meta-Llama-3.1-8B",
        "system": "h100_sxm", "backend": "vllm", "backend_version": "0.24.0",
    }  # fmt: skip
    assert 0 < entry["fit_error_percent"]["all"]["median"] < 5
    assert 0 < entry["fit_error_percent"]["decode_only"]["p95"] < 15


@pytest.mark.usefixtures("recorded")
def test_the_command_on_the_page_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/sizing.md").read_text()
    (command,) = re.findall(r"```bash\n(andante profile estimate .*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    assert run_cli(monkeypatch, *shlex.split(command)[1:]) == 0
    assert list(load_profiles(tmp_path / "llama-l40s.yaml")) == ["meta-llama-3.1-8b-1xl40s-estimate"]


@pytest.mark.usefixtures("recorded")
def test_it_has_the_limits_and_nearly_the_step_times_of_the_shipped_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert _estimate(monkeypatch, tmp_path, *LLAMA) == 0
    (found,) = load_profiles(tmp_path / "new.yaml").values()
    shipped = load_profiles()["llama-3-8b-1xh100"]
    for limit in ("kv_bytes_per_token", "max_num_seqs", "max_num_batched_tokens", "block_size"):
        assert getattr(found, limit) == getattr(shipped, limit)
    assert found.kv_capacity_tokens == pytest.approx(shipped.kv_capacity_tokens, rel=1e-3)
    for step in (Step(decode_seqs=64, context=1000), Step(prefill_tokens=2048)):
        times = [
            profile.coefficients.step_seconds(
                prefill_tokens=step.prefill_tokens,
                prefill_pairs=step.pairs,
                decode_seqs=step.decode_seqs,
                context_tokens=step.context_tokens,
            )
            for profile in (found, shipped)
        ]
        assert times[0] == pytest.approx(times[1], rel=0.1)


@pytest.mark.usefixtures("recorded")
def test_the_figures_are_written_as_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _estimate(monkeypatch, tmp_path, *LLAMA, "--name", "mine", "--json", tmp_path / "new.json") == 0
    document = json.loads((tmp_path / "new.json").read_text())
    assert document["profile"]["name"] == "mine-estimate"
    assert document["profile"]["coefficients"]["token_us"] > 10
    printed = capsys.readouterr().out
    for row in document["steps"]:
        assert f"{row['estimated_ms']:.2f}" in printed
        assert row["error_percent"] == pytest.approx(100 * (row["profile_ms"] / row["estimated_ms"] - 1), abs=0.1)


@pytest.mark.usefixtures("recorded")
def test_a_model_that_the_form_does_not_fit_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _estimate(monkeypatch, tmp_path, "Qwen/Qwen3-30B-A3B", "h200_sxm") == 0
    (entry,) = yaml.safe_load((tmp_path / "new.yaml").read_text())["profiles"]
    assert entry["fit_error_percent"]["all"]["p95"] == pytest.approx(30, abs=5)  # docs/reference/fidelity.md says so
    (profile,) = load_profiles(tmp_path / "new.yaml").values()
    for said in (profile.confidence, capsys.readouterr().out):
        assert "a profile has no form for this model" in " ".join(said.split())


@pytest.mark.usefixtures("recorded")
def test_a_step_takes_what_aiconfigurator_says_and_the_host_s_part() -> None:
    replica = Replica(*LLAMA, 1)
    engine = EngineHandle("meta-llama/Meta-Llama-3.1-8B", "h100_sxm", 1)
    decode, prefill = Step(decode_seqs=64, context=1024), Step(prefill_tokens=512, offset=1024)
    assert replica.seconds(decode) == pytest.approx(
        1e-3 * engine.predict_decode_latency(64, 1024) + host_step_seconds(64)
    )
    assert replica.seconds(prefill) == pytest.approx(
        1e-3 * engine.predict_prefill_latency(1, 1536, 1024) + host_step_seconds(1)
    )
    both = Step(prefill_tokens=512, offset=1024, decode_seqs=64, context=1024)
    whole = engine.mixed_step_breakdown(512, 64, 512, 2)
    alone = engine.mixed_step_breakdown(512, 0, 512, 2)
    attention = engine.mixed_step_breakdown(64, 64, 1024, 2)[3]
    expected = engine.predict_prefill_latency(1, 1536, 1024) + whole[1] - alone[1] + attention
    assert replica.seconds(both) == pytest.approx(1e-3 * expected + host_step_seconds(65))


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("Qwen/Qwen3-32", "h100_sxm"), "MODEL: AIConfigurator brings no configuration of Qwen/Qwen3-32; name one"),
        (("Qwen/Qwen3-32", "h100_sxm"), "Qwen/Qwen3-32B"),
        (("Qwen/Qwen3-32B", "h900"), "GPU: AIConfigurator does not know h900; it knows a100_sxm"),
        (("Qwen/Qwen3-32B", "h100_sxm", "--tp", 3), "num_heads 64 should be divisible by tp_size 3. Try another GPU"),
        (("Qwen/Qwen3-32B", "l40s"), "no KV budget"),
        ((*LLAMA, "--json", "/nowhere/x.json"), "--json: there is no directory /nowhere; make it first"),
        ((*LLAMA, "--price", "nan"), "--price"),
    ],
)
def test_what_cannot_be_estimated_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...], why: str,
) -> None:  # fmt: skip
    assert _estimate(monkeypatch, tmp_path, *options) == 2
    assert why in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "new.yaml").exists()


@pytest.mark.usefixtures("recorded")
def test_a_folder_s_config_json_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise KeyError("architectures")

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(importlib.import_module("aiconfigurator_core.sdk"), "estimate_kv_cache", refused)
    assert _estimate(monkeypatch, tmp_path, tmp_path, "h200_sxm") == 2
    assert "'architectures'. Look into its config.json, or try another GPU" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("recorded")
def test_weights_that_leave_no_room_for_a_kv_cache_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> dict[str, object]:
        weights = {"weights_bytes": int(68.2 * GIB)}
        return {
            "total_gpu_capacity_bytes": 80 * GIB, "memory_breakdown": weights, "total_kv_size_bytes": 131072,
            "total_kv_size_tokens": 1,
        }  # fmt: skip

    monkeypatch.setattr(importlib.import_module("aiconfigurator_core.sdk"), "estimate_kv_cache", full)
    assert _estimate(monkeypatch, tmp_path, *LLAMA, "--tp", 2) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--tp: on 2 x h100_sxm, 68.2 GiB of weights in each of 80.0 GiB leave room for 64" in said
    assert said.endswith("too few; give more GPUs")


def test_where_it_is_not_installed_the_command_says_how(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    remove(monkeypatch)
    assert _estimate(monkeypatch, tmp_path, *LLAMA) == 2
    assert "needs AIConfigurator: pip install 'andante[cli,estimate]'" in capsys.readouterr().err


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("gpu", "system"),
    [
        ("H100-SXM5-80GB", "h100_sxm"), ("A100-SXM4-80GB", "a100_sxm"), ("h200_sxm", "h200_sxm"), ("L40S", "l40s"),
        ("H100-PCIE-80GB", None), ("H100", None), ("RTX4090", None),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_a_profile_s_name(gpu: str, system: str | None) -> None:
    assert system_of(gpu) == system


@pytest.mark.usefixtures("recorded")
def test_a_model_is_known_by_name_by_its_layers_or_by_its_folder(tmp_path: Path) -> None:
    assert model_of("Qwen/Qwen3-32B") == "Qwen/Qwen3-32B"
    assert model_of("meta-llama/Meta-Llama-3-70B") == "meta-llama/Meta-Llama-3.1-70B"
    assert model_of("facebook/opt-66b") is None
    assert model_of(str(tmp_path)) is None
    (tmp_path / "config.json").write_text("{}")
    assert model_of(str(tmp_path)) == str(tmp_path)


@pytest.mark.parametrize(
    ("gib", "weights_gb", "kv_bytes", "tokens"),
    [(80, 16.06, 131072, 436816), (80, 35.28, 81920, 464352), (80, 100, 131072, 0)],
    ids=["llama-3-8b-1xh100", "llama-3-70b-4xh100", "too large"],
)
def test_the_kv_cache_is_that_of_the_shipped_profiles(
    gib: int, weights_gb: float, kv_bytes: float, tokens: int
) -> None:
    memory = Memory(capacity=gib * GIB, weights=int(weights_gb * 1e9), kv_bytes_per_token=kv_bytes)
    assert kv_capacity_tokens(memory) == pytest.approx(tokens, rel=1e-3)
    assert kv_capacity_tokens(memory) % 16 == 0


def test_no_image_installs_it() -> None:
    locks = [ROOT / "operator/requirements.lock", *ROOT.glob("engine_image/*.lock"), ROOT / "requirements.lock"]
    assert len(locks) >= 3
    for lock in locks:
        assert "aiconfigurator" not in lock.read_text()
    assert "aiconfigurator-core==0.12.0" in (ROOT / "requirements-estimate.lock").read_text()
