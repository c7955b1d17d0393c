"""Profiles: those that ship, and what is said of files that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from andante.profiles import SHIPPED_PROFILES, ProfileError, load_profiles


def test_those_that_ship_load() -> None:
    profiles = load_profiles()
    assert len(profiles) == 6
    assert all(profile.name == name for name, profile in profiles.items())


# From the table in the README beside the profiles: one decoding sequence at 256 tokens of context.
@pytest.mark.parametrize(
    ("name", "milliseconds"),
    [("llama-3-8b-1xa100", 11.7), ("llama-3-8b-1xh100", 6.8), ("qwen3-32b-2xh100", 14.4), ("llama-3-70b-4xh100", 16.8)],
)
def test_decode_times_are_those_of_the_readme(name: str, milliseconds: float) -> None:
    step = load_profiles()[name].coefficients.step_seconds(
        prefill_tokens=0, prefill_pairs=0, decode_seqs=1, context_tokens=256
    )
    assert step * 1e3 == pytest.approx(milliseconds, abs=0.05)


def _document(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    document = yaml.safe_load(SHIPPED_PROFILES.read_text())
    change(document)
    path = tmp_path / "profiles.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_users_own_file_is_read(tmp_path: Path) -> None:
    def rename(document: dict[str, Any]) -> None:
        document["profiles"] = document["profiles"][:1]
        document["profiles"][0]["name"] = "mine"

    assert list(load_profiles(_document(tmp_path, rename))) == ["mine"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d["profiles"][1]["coefficients"].pop("pair_us"), "profiles.1.coefficients.pair_us"),
        (lambda d: d["profiles"][0]["coefficients"].update(token_us=-1), "profiles.0.coefficients.token_us"),
        (lambda d: d["profiles"][0]["coefficients"].update(token_us=float("nan")), "profiles.0.coefficients.token_us"),
        (lambda d: d["profiles"][2].update(block_size=0), "profile qwen3-32b-2xh100"),
        (lambda d: d["units"].update(time="ms"), "units.time"),
        (lambda d: d.update(version=2), "version"),
        (lambda d: d.update(profiles=[]), "profiles"),
        (lambda d: d["profiles"].append(d["profiles"][0]), "two are named 'llama-3-8b-1xa100'"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], named: str) -> None:
    path = _document(tmp_path, change)
    with pytest.raises(ProfileError) as refused:
        load_profiles(path)
    assert named in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("text", ["profiles: [", "", "[]", "just words"])
def test_what_is_no_profile_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"profiles\.yaml"):
        load_profiles(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"nowhere\.yaml: cannot be read"):
        load_profiles(tmp_path / "nowhere.yaml")
