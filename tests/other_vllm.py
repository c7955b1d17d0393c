"""Makes a vLLM of another version: the installed one, with another version string and some names changed.

It runs, as all of its modules use the new names. Only code outside of vLLM does not find the old names.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path


def make_other_vllm(folder: Path, *, installed: Path, version: str, renamed: Mapping[str, str]) -> Path:
    """Make a package `vllm` in `folder`, which must come first in PYTHONPATH; return `folder`.

    installed: the folder of the package `vllm`. renamed: old name -> new name, throughout the package.
    """
    copy = folder / "vllm"
    for source in (path for path in installed.rglob("*") if "__pycache__" not in path.parts):
        target = copy / source.relative_to(installed)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8") if source.suffix == ".py" else ""
        changed = text
        for old, new in renamed.items():
            if old in changed:
                changed = re.sub(rf"\b{old}\b", new, changed)
        if changed != text:
            target.write_text(changed, encoding="utf-8")
        else:
            target.symlink_to(source)
    stamp = copy / "_version.py"
    text = stamp.read_text(encoding="utf-8")
    stamp.unlink()
    stamp.write_text(re.sub(r"'\d+\.\d+\.\d+'", f"'{version}'", text), encoding="utf-8")
    shutil.rmtree(copy / "__pycache__", ignore_errors=True)
    return folder
