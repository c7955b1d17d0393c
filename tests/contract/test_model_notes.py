"""vLLM takes the notes of a model's class that the image's build made, and does not look at the class again."""

from __future__ import annotations

from pathlib import Path

import pytest
from vllm.model_executor.models import registry

from andante_vllm import model_notes

ARCHITECTURE = "LlamaForCausalLM"


def _no_look(ask: object) -> object:
    raise AssertionError("vLLM looks at the class in a process of its own")


def test_a_start_with_an_empty_cache_takes_the_images_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model_notes.make(tmp_path / "image", [ARCHITECTURE]) == ()
    monkeypatch.setenv(model_notes.FOLDER_VARIABLE, str(tmp_path / "image"))
    monkeypatch.setenv("VLLM_CACHE_ROOT", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "_run_in_subprocess", _no_look)
    model_notes.hand_on(tmp_path / "cache")
    assert registry.ModelRegistry.models[ARCHITECTURE].inspect_model_cls().is_text_generation_model
