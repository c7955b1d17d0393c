"""Says in the first second why `make demo` or `make install-local` cannot work here, before any download.

Both call it. It checks the backend and its flags, privileges, Python, memory and disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from hack.localcluster import doctor, needs
from hack.localcluster.errors import ClusterError
from hack.localcluster.progress import say
from hack.localcluster.settings import cache
from hack.localcluster.target import Target

_ENGINE_PYTHONS = ((3, 11), (3, 12), (3, 13))


def check(target: Target) -> str:
    """One sentence about what the run will use. Raises ClusterError that names everything that prevents the run."""
    chosen = target.choose()
    wanted = needs.of_real_images(engine_image=target.engine_image)
    if chosen.kind == "native":
        _refuse([f"{f.subject}: {f.verdict}\n  to fix it: {f.remedy}" for f in doctor.node_findings() if f.fatal])
        _check_python()
        wanted = needs.of_native_node()
    short = [
        f"disk: {shortage}\n  to fix it: free space there, or set ANDANTE_CACHE to a folder on a larger disk"
        for shortage in needs.shortages(wanted)
    ]
    if chosen.kind != "kubeconfig" and needs.memory_gib() < needs.MEMORY_GIB:
        short.append(
            f"memory: {needs.MEMORY_GIB:.0f} GiB are needed, {needs.memory_gib():.1f} are there\n"
            '  to fix it: a larger machine, or your own cluster (DEMO_ARGS="--kubeconfig FILE --registry HOST/PATH")'
        )
    if os.environ.get("ANDANTE_PREFLIGHT") == "warn":
        for text in short:
            say(text)
    else:
        _refuse(short, "or run anyway: ANDANTE_PREFLIGHT=warn")
    takes = sum(need.gib for need in wanted)
    return f"backend: {chosen.kind}; needs up to {takes:.0f} GiB of disk; caches are in {cache()}"


def _refuse(problems: Sequence[str], remedy: str = "") -> None:
    if problems:
        raise ClusterError("this machine lacks what the run needs\n" + "\n".join(problems), remedy)


def _check_python() -> None:
    """Check Python's version: vLLM for CPUs has wheels for fewer versions than the rest of Andante."""
    named = os.environ.get("ANDANTE_ENGINE_PYTHON")
    version = sys.version_info[:2]
    if named:
        code = "import sys; print(*sys.version_info[:2])"
        done = subprocess.run([named, "-c", code], capture_output=True, text=True, check=False)
        major, minor = done.stdout.split() if done.returncode == 0 else ("0", "0")
        version = (int(major), int(minor))
    if version not in _ENGINE_PYTHONS:
        raise ClusterError(
            f"vLLM for CPUs needs Python 3.11, 3.12 or 3.13, and {named or 'python3'} is {version[0]}.{version[1]}",
            "ANDANTE_ENGINE_PYTHON=/path/to/python3.13",
        )
