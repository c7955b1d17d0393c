"""Gives vLLM what it would find out about a model's class at its first start, once for all starts of an image.

vLLM imports itself in a second process to ask a model's class what it can do: 15 s of a core, at each start with an
empty cache, as each new pod has one. It keeps the answer in a note, with a hash of the model's source: a note of
another vLLM does no harm. The image's build makes notes for common models; a start copies them into the engine's cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "ANDANTE_MODEL_NOTES"
"""Environment variable with the folder of the image's notes."""
ARCHITECTURES: Final = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Phi3ForCausalLM",
    "Gemma3ForCausalLM",
    "DeepseekV3ForCausalLM",
    "Glm4MoeForCausalLM",
    "GptOssForCausalLM",
)
_NOTES: Final = "modelinfos"
_ASK: Final = (
    "import sys; from vllm.model_executor.models.registry import ModelRegistry; "
    "ModelRegistry.models[sys.argv[1]].inspect_model_cls()"
)


def make(folder: Path, architectures: Sequence[str] = ARCHITECTURES) -> tuple[str, ...]:
    """Write the notes of these architectures into `folder`, and return those of which vLLM makes none here.

    A model may need a GPU even to be looked at: vLLM then looks at it at each start, as it always did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    without: list[str] = []
    with tempfile.TemporaryDirectory() as cache:
        made = Path(cache) / _NOTES
        for architecture in architectures:
            before = _names(made)
            asked = subprocess.run(
                [sys.executable, "-c", _ASK, architecture],
                env={**os.environ, "VLLM_CACHE_ROOT": cache},
                capture_output=True,
                text=True,
                check=False,
            )
            if asked.returncode != 0 or _names(made) == before:
                without.append(architecture)
                print(f"{architecture}: {asked.stderr.strip()[-500:]}", file=sys.stderr)
        _copy(made, folder)
    return tuple(without)


def hand_on(cache: Path) -> None:
    """Copy the image's notes into `cache`, vLLM's, which keeps those that it has. No notes and no room: no error."""
    ready = os.environ.get(FOLDER_VARIABLE)
    if ready:
        _copy(Path(ready), cache / _NOTES)


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.glob("*.json")}


def _copy(source: Path, target: Path) -> None:
    """What is missing, each file in one step: another engine may share the folder."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".") as parts:
            for name in sorted(_names(source) - _names(target)):
                part = Path(parts) / name
                shutil.copyfile(source / name, part)
                part.replace(target / name)
    except OSError as error:
        print(f"andante-engine: vLLM looks at the model itself, which takes it longer: {error}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the notes in the folder of the first argument, of the architectures of the others; default: all. Returns 1
    where none was made: an image that was meant to have notes has none then."""
    folder, *architectures = sys.argv[1:] if arguments is None else arguments
    without = make(Path(folder), architectures or ARCHITECTURES)
    if without:
        print(f"andante-engine: no notes of {', '.join(without)}: each start finds out itself", file=sys.stderr)
    return 0 if set(architectures or ARCHITECTURES) - set(without) else 1


if __name__ == "__main__":
    sys.exit(main())
