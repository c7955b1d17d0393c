"""Engine pods without an engine image, on the native node: this machine's folders mounted read-only into a tiny image.

A vLLM image holds several gigabytes; building and importing it costs many minutes that tests and the demo need not
spend. A pod sees /usr, what the loader needs from /etc, the Python installation and the engine environment, each
read-only at the path it has here, and nothing else of the machine: a plain vLLM, into which Andante is copied as into
any image. Such a pod uses hostPath volumes: its namespace has to allow the pod security level `privileged`, so this is
for a local node only.
"""

from __future__ import annotations

import configparser
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hack.localcluster.errors import ClusterError
from hack.localcluster.images import TinyImage
from hack.localcluster.settings import cache

ENGINE_CONTAINER = "engine"
_SYSTEM = ("/usr", "/etc/ld.so.cache", "/etc/alternatives", "/etc/ssl/certs")
_MERGED = ("bin", "sbin", "lib", "lib64")  # links into /usr on every current distribution
_REMEDY = "make engine-env"


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """A virtual environment with vLLM and the `andante-engine` command."""

    folder: Path

    @property
    def python_prefix(self) -> Path:
        """Installation that the environment was made from. Raises ClusterError for a folder that is none."""
        try:
            text = (self.folder / "pyvenv.cfg").read_text()
        except OSError as error:
            raise ClusterError(f"{self.folder} is no virtual environment: {error}", _REMEDY) from error
        parser = configparser.ConfigParser()
        parser.read_string(f"[venv]\n{text}")
        return Path(parser["venv"]["home"]).resolve().parent


def find_engine_environment(folder: Path | None = None) -> EngineEnvironment:
    """`folder`, or the one that `make engine-env` prepared last: each Python has its own. Raises ClusterError where
    there is none."""
    commands = (
        [folder / "bin" / "andante-engine"] if folder else list(cache().glob("engine-env/vllm-*/bin/andante-engine"))
    )
    prepared = [command for command in commands if command.is_file()]
    if prepared:
        return EngineEnvironment(max(prepared, key=lambda command: command.stat().st_mtime).parent.parent)
    where = folder or cache() / "engine-env"
    raise ClusterError(f"no engine environment with the andante-engine command in {where}", _REMEDY)


def mounted_folders(environment: EngineEnvironment) -> tuple[Path, ...]:
    """What a pod needs from this machine, without folders that lie in another one of the list."""
    unmerged = [f"/{name}" for name in _MERGED if Path(f"/{name}").exists() and not Path(f"/{name}").is_symlink()]
    wanted = [
        *(Path(path) for path in (*_SYSTEM, *unmerged) if Path(path).exists()),
        environment.python_prefix,
        environment.folder,
    ]
    outermost = [path for path in wanted if not any(path != other and path.is_relative_to(other) for other in wanted)]
    return tuple(dict.fromkeys(outermost))


def host_image(environment: EngineEnvironment) -> TinyImage:
    """Empty folders, the links into /usr, a user to be, and a PATH; its tag changes with its content."""
    env = {
        "PATH": f"{environment.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Where `make engine-env` left the scheduling policy's machine code.
        "NUMBA_CACHE_DIR": str(environment.folder / "compiled"),
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
