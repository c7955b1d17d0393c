"""`andante profile fit` and `andante simulate --setup`: a profile out of a recorded run, a run out of a profile."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from andante.cli.recorded_runs import read_recording
from andante.domain.step_time import StepTimeCoefficients
from andante.profiles import load_profiles
from andante.sim.engine import Engine, StepTime
from andante.sim.requests import Requests
from andante.sim.run import simulate
from unit.run_cli import run_cli
from unit.sim_workloads import CLASSES

COLUMNS = (
    "request_id",
    "split",
    "arrival_s",
    "prompt_tokens",
    "output_tokens",
    "queued_s",
    "first_token_s",
    "last_token_s",
)
TRUE = StepTimeCoefficients(
    fixed_us=1_500, prefill_step_us=400, weight_floor_us=6_000, token_us=40, pair_us=0.003, decode_seq_us=15,
    context_token_us=0.08,
)  # fmt: skip
SETUP: dict[str, Any] = {
    "name": "small", "model": "some/model", "gpu": "some GPU", "max_num_seqs": 16, "max_num_batched_tokens": 512,
    "max_model_len": 4096, "kv_blocks": 401, "async_scheduling": True, "reserve_full_isl": True,
}  # fmt: skip
SHARED = 160
"""Tokens with which every second prompt begins."""


def record(count: int = 60) -> list[dict[str, Any]]:
    """What an engine of `SETUP` with the step time `TRUE` serves; every second request belongs to the fit."""
    random = np.random.default_rng(5)
    arrival = np.concatenate(([0.0], np.cumsum(random.exponential(0.15, count - 1)))).round(6)
    prompt, output = random.integers(200, 900, count), random.integers(20, 90, count)
    later = (np.arange(count) % 2 == 0) & (np.arange(count) > 0)
    workload = Requests.of(
        arrival=arrival, prompt_tokens=prompt, output_tokens=output, classes=CLASSES, class_of=2, most_tokens=4096,
        source=np.where(later, 0, -1), shared=np.where(later, SHARED, 0),
    )  # fmt: skip
    engine = Engine(
        blocks=400, block_size=16, max_seqs=16, max_step_tokens=512, long_prefill=0, watermark_blocks=0,
        prefix_caching=True, by_priority=False, step_time=StepTime.of(TRUE), steps_in_flight=2, hand_over=0.002,
    )  # fmt: skip
    outcome = simulate(workload, engine)
    first, last = arrival + outcome.first_token, arrival + outcome.last_token
    return [
        {
            "request_id": f"r{i}", "split": "fit" if i % 2 else "judge", "arrival_s": arrival[i],
            "prompt_tokens": prompt[i], "output_tokens": output[i], "queued_s": f"{arrival[i] + 0.002:.6f}",
            "first_token_s": f"{first[i]:.6f}", "last_token_s": f"{last[i]:.6f}",
        }
        for i in range(count)
    ]  # fmt: skip


def write(folder: Path, rows: list[dict[str, Any]], **setup: Any) -> Path:
    """The set-up's folder; index.yaml is beside it."""
    small = folder / "small"
    small.mkdir(exist_ok=True)
    (folder / "index.yaml").write_text(yaml.safe_dump({"version": 1, "setups": [{**SETUP, **setup}]}))
    columns = list(rows[0])
    with (small / "requests.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        json.dumps({"request_id": f"r{i}", "hash_ids": [*range(SHARED // 16), f"own-{i}"] if i % 2 == 0 else []}) + "\n"
        for i in range(len(rows))
    ]
    (small / "prefix_blocks.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    return small


@pytest.fixture(scope="module")
def recorded() -> list[dict[str, Any]]:
    return record()


def times(path: Path) -> np.ndarray:
    with path.open(newline="") as file:
        return np.array([(float(r["first_token_s"]), float(r["last_token_s"])) for r in csv.DictReader(file)])


def test_a_fitted_profile_predicts_the_half_that_it_never_saw(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = [
        r if r["split"] == "fit" else {**r, "queued_s": "", "first_token_s": "", "last_token_s": ""} for r in recorded
    ]
    setup, index, profile = write(tmp_path, hidden), tmp_path / "index.yaml", tmp_path / "out.yaml"
    assert run_cli(monkeypatch, "profile", "fit", setup, "--index", index, "--out", profile) == 0
    said = capsys.readouterr().out
    assert "TTFT" in said
    assert "requests of the fit" in said
    found = load_profiles(profile)["small"]
    assert (found.model, found.kv_capacity_blocks, found.max_num_seqs) == ("some/model", 400, 16)
    assert found.hand_over_us == pytest.approx(2_000, abs=1)
    assert (found.kv_bytes_per_token, np.isnan(found.price_per_replica_hour)) == (0, True)
    prediction = tmp_path / "pred.csv"
    arguments = ("--index", index, "--profile", profile, "--predict", prediction)
    assert run_cli(monkeypatch, "simulate", "--setup", setup, *arguments) == 0
    real = np.array([(float(r["first_token_s"]), float(r["last_token_s"])) for r in recorded])
    arrival = np.array([r["arrival_s"] for r in recorded])
    ours = times(prediction) - arrival[:, None]
    real -= arrival[:, None]
    judged = np.array([r["split"] == "judge" for r in recorded])
    assert ours[judged].mean(axis=0) == pytest.approx(real[judged].mean(axis=0), rel=0.02)


def test_a_shared_beginning_is_found_in_the_prefix_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: list[dict[str, Any]]
) -> None:
    """The recorded engine's own profile gives its own times; without the block ids, later ones."""
    setup = write(tmp_path, recorded)
    profile = tmp_path / "true.yaml"
    entry = {
        "name": "true", "model": "m", "gpu": "g", "tensor_parallel": 1,
        "coefficients": {name: getattr(TRUE, name) for name in StepTime._fields},
        "outside_engine": {"hand_over_us": 2_000}, "kv_capacity_tokens": 6_400, "block_size": 16, "max_num_seqs": 16,
        "max_num_batched_tokens": 512,
    }  # fmt: skip
    units = {"time": "us", "price": "USD per hour", "warmup": "s"}
    profile.write_text(yaml.safe_dump({"version": 1, "units": units, "profiles": [entry]}))
    real = np.array([(float(r["first_token_s"]), float(r["last_token_s"])) for r in recorded])
    for blocks in (True, False):
        if not blocks:
            (setup / "prefix_blocks.jsonl.gz").unlink()
        arguments = ("--index", tmp_path / "index.yaml", "--profile", profile, "--predict", tmp_path / "pred.csv")
        assert run_cli(monkeypatch, "simulate", "--setup", setup, *arguments) == 0
        late = (times(tmp_path / "pred.csv") - real)[:, 0]
        assert (np.abs(late).max() < 1e-5) == blocks
        assert late.mean() > (-1e-5 if blocks else 1e-3)


@pytest.mark.parametrize(
    "told", [{"shared_prefix_tokens": 160}, {"prefix": "first 160 tokens the same in all requests"}]
)
def test_what_all_prompts_begin_with_is_a_field_of_the_set_up(tmp_path: Path, told: dict[str, Any]) -> None:
    """The prose of `prefix`, which index files had before, is still understood."""
    rows = record(20)
    setup = write(tmp_path, rows, **told)
    (setup / "prefix_blocks.jsonl.gz").unlink()
    (run,) = read_recording(setup, tmp_path / "index.yaml", times=True).runs
    assert [list(blocks) for blocks in run.blocks] == [list(range(SHARED // 16))] * 20


def test_kernels_of_a_mixture_of_experts_are_not_used(tmp_path: Path) -> None:
    setup = write(tmp_path, record(20), kernels="experts")
    (tmp_path / "experts").mkdir()
    (tmp_path / "experts" / "moe.csv.gz").write_bytes(gzip.compress(b"tokens,activated_experts,time_us\n1,8,20\n"))
    assert read_recording(setup, tmp_path / "index.yaml", times=True).kernels is None


def _changed(rows: list[dict[str, Any]], place: int, **fields: Any) -> list[dict[str, Any]]:
    return [{**row, **fields} if i == place else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("place", "fields", "message"),
    [
        (3, {"arrival_s": "soon"}, "requests.csv: line 5: arrival_s: 'soon' is not a number"),
        (3, {"arrival_s": "-1"}, "requests.csv: line 5: arrival_s: -1 is before the run's start"),
        (3, {"prompt_tokens": "0"}, "requests.csv: line 5: prompt_tokens: 0 must be at least 1"),
        (3, {"output_tokens": "1.5"}, "requests.csv: line 5: output_tokens: '1.5' is not a whole number"),
        (3, {"first_token_s": ""}, "requests.csv: line 5: first_token_s: is empty"),
        (3, {"first_token_s": "99999"}, "requests.csv: line 5: arrival_s"),
        (3, {"last_token_s": "nan"}, "requests.csv: line 5: last_token_s: 'nan' is not finite"),
        (3, {"request_id": "r0"}, "requests.csv: line 5: request_id 'r0' is that of line 2"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str],
    place: int, fields: dict[str, str], message: str,
) -> None:  # fmt: skip
    setup = write(tmp_path, _changed(recorded[:9], place, **fields))
    arguments = ("--index", tmp_path / "index.yaml", "--out", tmp_path / "out.yaml")
    assert run_cli(monkeypatch, "profile", "fit", setup, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize(
    ("setup", "message"),
    [
        ({"name": "other"}, "no set-up is named 'small', as SETUP_DIR is; it has other"),
        ({"max_num_seqs": 0}, "setups.0.max_num_seqs (small): Input should be greater than 0"),
        ({"kv_blocks": 20}, "tokens do not fit into kv_blocks"),
        ({"kernels": "nowhere"}, "nowhere has no attention.csv.gz"),
    ],
)
def test_a_wrong_index_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str],
    setup: dict[str, Any], message: str,
) -> None:  # fmt: skip
    folder = write(tmp_path, recorded, **setup)
    arguments = ("--index", tmp_path / "index.yaml", "--out", tmp_path / "out.yaml")
    assert run_cli(monkeypatch, "profile", "fit", folder, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda rows: [{**row, "split": "judge"} for row in rows], "no line has the split 'fit'"),
        (lambda rows: rows[:9], "4 requests have known times, at least 8 are needed"),
        (lambda rows: [{k: v for k, v in row.items() if k != "split"} for row in rows], "line 1: the column 'split'"),
    ],
    ids=["none", "few", "no column"],
)
def test_a_run_that_says_too_little_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str],
    rows: Any, message: str,
) -> None:  # fmt: skip
    setup = write(tmp_path, rows(recorded))
    arguments = ("--index", tmp_path / "index.yaml", "--out", tmp_path / "out.yaml")
    assert run_cli(monkeypatch, "profile", "fit", setup, *arguments) == 2
    assert message in capsys.readouterr().err


def test_wrong_block_ids_are_refused_with_their_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    setup = write(tmp_path, recorded)
    (setup / "prefix_blocks.jsonl.gz").write_bytes(
        gzip.compress(b'{"request_id": "r0", "hash_ids": [1]}\n{"oops": 1}\n')
    )
    arguments = ("--index", tmp_path / "index.yaml", "--profile", "llama-3-8b-1xh100", "--predict", tmp_path / "p.csv")
    assert run_cli(monkeypatch, "simulate", "--setup", setup, *arguments) == 2
    assert 'prefix_blocks.jsonl.gz: line 2: expected {"request_id": "0"' in capsys.readouterr().err


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recorded: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    setup = write(tmp_path, recorded)
    arguments = ("--index", tmp_path / "index.yaml", "--profile", "llama-9", "--predict", tmp_path / "p.csv")
    assert run_cli(monkeypatch, "simulate", "--setup", setup, *arguments) == 2
    assert "llama-9 is no file, and no shipped profile: llama-3-8b-1xa100" in capsys.readouterr().err
