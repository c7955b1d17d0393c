"""Starts the engine from a copied package: an engine pod runs this file as `python3 /opt/andante/engine`.

It runs in any image that the LLMService names, before our package can be imported. So it uses only the standard library
and no syntax newer than Python 3.8: an old Python prints a sentence, not a traceback. The package goes to the front of
PYTHONPATH, for the processes that vLLM starts; the image's own entries stay.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

PYTHON = (3, 11)
NEEDED = ("numpy", "numba", "pydantic", "yaml", "prometheus_client")
"""Modules that the package needs beside vLLM; each vLLM installation has them."""
CHOSEN = "ANDANTE_ENGINE_PYTHON_CHOSEN"
"""Set after the switch to the Python of the image's `vllm` command, so that the switch is tried only once."""


def main() -> int:
    """The engine's exit status; 2 with a sentence where this image cannot run it."""
    packages = str(Path(__file__).resolve().parent / "packages")
    sys.path[0] = packages  # instead of this file's own folder
    there = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != packages]
    os.environ["PYTHONPATH"] = os.pathsep.join([packages, *there])
    if importlib.util.find_spec("vllm") is None:
        _become_python_of_the_vllm_command()
        return _refuse(f"python3 of this image ({sys.executable}) finds no vLLM; name a vLLM image in engine.image")
    if sys.version_info < PYTHON:
        return _refuse(
            f"the vLLM of this image runs on Python {sys.version.split()[0]}, Andante needs {PYTHON[0]}.{PYTHON[1]};"
            " name a newer vLLM image in spec.engine.image"
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return _refuse(f"this image lacks {', '.join(missing)}, which vLLM brings; add them to the image")
    from andante_vllm.cli import main as engine

    return engine()


def _become_python_of_the_vllm_command() -> None:
    """Run again on the Python of the image's `vllm` command; returns where there is no other Python."""
    command = shutil.which("vllm")
    if command is None or os.environ.get(CHOSEN):
        return
    try:
        with Path(command).open("rb") as script:
            first = script.readline(1024).decode("utf-8", "replace").strip()
    except OSError:
        return
    python = first[2:].strip() if first.startswith("#!") else ""
    if Path(python).is_absolute() and os.access(python, os.X_OK):
        os.environ[CHOSEN] = "1"
        os.execv(python, [python, *sys.argv])  # noqa: S606  the image's own interpreter


def _refuse(why: str) -> int:
    sys.stderr.write(f"andante-engine: {why}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
