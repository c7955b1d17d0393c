"""Lets engine pods on the native node run this machine's vLLM: a tiny image, and folders mounted read-only.

A vLLM image has several gigabytes: tests and the demo would need many minutes to build and import it. Instead, a pod
sees /usr, some files of /etc, the Python installation and the engine environment, each read-only and at the same path
as on this machine, and nothing else. That is a plain vLLM; Andante is copied into the pod as with any image. Such a pod
uses hostPath volumes, so its namespace must allow the Pod Security level `privileged`: this is for a local node only.
"""

from __future__ import annotations

import configparser
import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.localcluster.errors import ClusterError
from hack.localcluster.images import TinyImage
from hack.localcluster.locking import exclusive
from hack.localcluster.settings import REPOSITORY, cache

ENGINE_CONTAINER = "engine"
_SYSTEM = ("/usr", "/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl/certs")
_MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr on every current distribution
_REMEDY = "make engine-env"
_TREE = (REPOSITORY / "operator", REPOSITORY / "engine_image")


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """A virtual environment that contains vLLM and the `andante-engine` command."""

    folder: Path

    @property
    def python_prefix(self) -> Path:
        """The Python installation that the environment belongs to. Raises ClusterError for another folder."""
        try:
            text = (self.folder / "pyvenv.cfg").read_text()
        except OSError as error:
            raise ClusterError(f"{self.folder} is no virtual environment: {error}", _REMEDY) from error
        parser = configparser.ConfigParser()
        parser.read_string(f"[venv]\n{text}")
        return Path(parser["venv"]["home"]).resolve().parent

    @property
    def model_notes(self) -> Path:
        """What vLLM notes of the local models' class, so that not each pod spends 15 s of a core to find it out."""
        return self.folder / "model-notes"

    def make_model_notes(self) -> None:
        """Make the notes, as the engine image's build does, unless they are there."""
        with exclusive(self.model_notes, "the notes about models"):
            if any(self.model_notes.glob("*.json")):
                return
            python, tree = self.folder / "bin" / "python", os.pathsep.join(map(str, _TREE))
            # All local models are of this class. A failure costs each pod those seconds, and no more.
            subprocess.run(
                [python, "-m", "andante_vllm.model_notes", self.model_notes, "LlamaForCausalLM"],
                env={**os.environ, "PYTHONPATH": tree, "VLLM_LOGGING_LEVEL": "ERROR"},
                check=False,
                stdout=sys.stderr,
            )


def find_engine_environment(folder: Path | None = None) -> EngineEnvironment:
    """The environment in `folder`, or the one that `make engine-env` prepared last (each Python version has its own).

    Raises ClusterError where there is none.
    """
    commands = (
        [folder / "bin" / "andante-engine"] if folder else list(cache().glob("engine-env/vllm-*/bin/andante-engine"))
    )
    prepared = [command for command in commands if command.is_file()]
    if prepared:
        return EngineEnvironment(max(prepared, key=lambda command: command.stat().st_mtime).parent.parent)
    where = folder or cache() / "engine-env"
    raise ClusterError(f"no engine environment with the andante-engine command in {where}", _REMEDY)


def mounted_folders(environment: EngineEnvironment) -> tuple[Path, ...]:
    """The folders and files that a pod needs from this machine, without those inside another one of the list."""
    unmerged = [f"/{name}" for name in _MERGED if Path(f"/{name}").exists() and not Path(f"/{name}").is_symlink()]
    wanted = [
        *(Path(path) for path in (*_SYSTEM, *unmerged) if Path(path).exists()),
        environment.python_prefix,
        environment.folder,
    ]
    outermost = [path for path in wanted if not any(path != other and path.is_relative_to(other) for other in wanted)]
    return tuple(dict.fromkeys(outermost))


def host_image(environment: EngineEnvironment) -> TinyImage:
    """The tiny image: empty folders, links into /usr, a user, and a PATH. Its tag changes with its content."""
    env = {
        "PATH": f"{environment.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        # `make engine-env` put the compiled code of the scheduling policy there.
        "NUMBA_CACHE_DIR": str(environment.folder / "compiled"),
        "ANDANTE_MODEL_NOTES": str(environment.model_notes),
    }
    image = TinyImage(
        tag="localhost/andante/engine-host-mounts",
        folders={"tmp": 0o1777, "var/tmp": 0o1777, "var/cache/andante": 0o777, "etc/andante": 0o755},
        links={name: f"usr/{name}" for name in _MERGED if Path(f"/{name}").is_symlink()},
        texts={
            "etc/passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
            "andante:x:65532:65532:andante:/var/cache/andante:/usr/sbin/nologin\n",
            "etc/group": "root:x:0:\nandante:x:65532:\n",
            "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
        },
        env=env,
        entrypoint=("vllm", "serve"),
    )
    digest = hashlib.sha256(repr(image).encode()).hexdigest()[:12]
    return dataclasses.replace(image, tag=f"{image.tag}:{digest}")


def engine_values(environment: EngineEnvironment) -> dict[str, Any]:
    """The operator's engine defaults that make every engine pod use the host mounts: image, pull policy and a
    strategic-merge patch of the pod template, which names the container it extends."""
    mounts = [(f"host-{index}", path) for index, path in enumerate(mounted_folders(environment))]
    return {
        "engineImage": host_image(environment).tag,
        "engineImagePullPolicy": "Never",
        "enginePodTemplate": {
            "spec": {
                "containers": [
                    {
                        "name": ENGINE_CONTAINER,
                        "volumeMounts": [
                            {"name": name, "mountPath": str(path), "readOnly": True} for name, path in mounts
                        ],
                    }
                ],
                "volumes": [{"name": name, "hostPath": {"path": str(path)}} for name, path in mounts],
            }
        },
    }


def under(key: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values` below the dotted `key` ("a.b" makes {"a": {"b": values}}); an empty key changes nothing."""
    parts: Sequence[str] = [part for part in key.split(".") if part]
    for part in reversed(parts):
        values = {part: values}
    return values
