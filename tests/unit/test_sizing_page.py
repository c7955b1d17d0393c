"""docs/how-to/sizing.md: its tables are what its own formulas and the shipped profiles give."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from andante.domain.pace import PRESETS
from andante.domain.step_time import Profile, prefill_pairs
from andante.profiles import load_profiles
from unit.run_cli import run_cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "sizing.md").read_text(encoding="utf-8")
GIB = 2**30


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its two head lines."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines[2:]]


def _number(cell: str) -> float:
    return float(re.sub(r"[^\d.]", "", cell))


def kv_tokens(*, gpus: int, gpu_gib: float, weights_gb: float, kv_kib: float) -> float:
    """Tokens that the KV cache of a replica holds: `gpus x (0.9 x memory - 3 GiB) - weights`, over a token's bytes."""
    return (gpus * (0.9 * gpu_gib - 3) * GIB - weights_gb * 1e9) / (kv_kib * 1024)


def requests_per_second(profile: Profile, *, prompt: int, answer: int, pace: float) -> tuple[float, int]:
    """Requests a second that one replica serves without end, and the answers in flight then.

    As many answers at once as the KV cache holds and as a step allows that gives each reader a token in time.
    """

    def step(sequences: int) -> float:
        prefill = sequences * prompt / answer
        return profile.coefficients.step_seconds(
            prefill_tokens=prefill,
            prefill_pairs=prefill / prompt * prefill_pairs(tokens=prompt),
            decode_seqs=sequences,
            context_tokens=sequences * (prompt + answer / 2),
        )

    fits = min(profile.max_num_seqs, int(profile.kv_capacity_tokens / (prompt + answer / 2)))
    sequences = next((n for n in range(fits, 0, -1) if step(n) <= 1 / pace), 1)
    return sequences / (answer * step(sequences)), sequences


@pytest.mark.parametrize("row", _rows("Does the model fit?"), ids=lambda row: row[0])
def test_a_model_s_bytes_follow_from_its_shape(row: list[str]) -> None:
    _, billions, layers, heads, head_size, weights, kv = row
    assert _number(weights) == pytest.approx(2 * _number(billions), abs=0.06)
    assert _number(kv) == 2 * int(layers) * int(heads) * int(head_size) * 2 / 1024


@pytest.mark.parametrize("row", _rows("Which card carries which model?"), ids=lambda row: " ".join(row[:2]))
def test_the_kv_cache_is_what_is_left(row: list[str]) -> None:
    card, model, gpus, tokens, readers = row
    shape = next(cells for cells in _rows("Does the model fit?") if cells[0] == model)
    gib = float(re.findall(r"\((\d+(?:\.\d+)?) GiB\)", card)[0])
    found = kv_tokens(gpus=int(gpus), gpu_gib=gib, weights_gb=_number(shape[5]), kv_kib=_number(shape[6]))
    assert _number(tokens) * 1000 == pytest.approx(found, abs=500)
    assert _number(readers) == pytest.approx(found / 2000, abs=1)


@pytest.mark.parametrize("row", _rows("How many replicas?"), ids=lambda row: row[0])
def test_requests_a_second_follow_from_the_profile(row: list[str]) -> None:
    profile = load_profiles()[row[0]]
    rate, sequences = requests_per_second(profile, prompt=1150, answer=260, pace=PRESETS["reading"].pace)
    assert float(row[1]) == pytest.approx(rate, abs=0.05)
    assert int(row[2]) == sequences
    assert _number(row[3]) == pytest.approx(profile.price_per_replica_hour, abs=0.005)


def test_the_commands_of_the_page_give_its_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan, simulate = re.findall(r"```bash\n(andante (?:plan|simulate) .*?)```", PAGE, re.DOTALL)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    assert run_cli(monkeypatch, *shlex.split(plan.replace("\\\n", " "))[1:], "--json", "plan.json") == 0
    curve = json.loads((tmp_path / "plan.json").read_text())["curve"]
    rows = [row for row in _rows("Try your own traffic") if len(row) == 6]
    assert [int(row[0]) for row in rows] == [found["replicas"] for found in curve]
    for row, found in zip(rows, curve, strict=True):
        figures = (found["mean_qoe"], 100 * found["share_good"], found["ttft_s"]["p95"], found["cost_usd_per_hour"])
        assert [_number(cell) for cell in row[1:5]] == pytest.approx(figures, rel=1e-3)
        assert _number(row[5]) == pytest.approx(found["cost_usd_per_1000_good"], rel=1e-3)
    assert run_cli(monkeypatch, *shlex.split(simulate.replace("\\\n", " "))[1:]) == 0
    assert json.loads((tmp_path / "run.json").read_text())["scores"]["requests"] > 1000
