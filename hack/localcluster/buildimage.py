"""Builds an image from its Dockerfile: with Docker or podman if one works, else with buildah on a base of our own.

That base is a Debian with Python, made by debootstrap, so that no registry is needed. With `created`, podman and
buildah make an identical image from the same input: `created` replaces every time in the image.

The result is a docker archive in the cache. Its name has a digest of all inputs: the Dockerfile, its arguments, and the
files that its COPY lines take. If no input changed, nothing is built.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import resource
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hack.localcluster import debian, docker
from hack.localcluster.binaries import find
from hack.localcluster.errors import ClusterError
from hack.localcluster.locking import exclusive
from hack.localcluster.progress import say
from hack.localcluster.settings import cache, go_arch

_BASE_PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
# Files of this machine that the build may read: a proxy's certificates and pip's settings.
_BORROWED = ("/etc/ssl/certs", "/etc/pip.conf")
_BASE_RECIPE = 3  # increase it with every change of _python_base
_BUILDERS = ("docker", "podman", "buildah")
_ANSWER_SECONDS = 20.0
_KEPT_ARCHIVES = 3
_KEPT_LAYERS = 40
_IGNORED = {"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageBuild:
    """One image to build: `context` is the folder that COPY reads from."""

    dockerfile: Path
    context: Path
    tag: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    created: int | None = None
    """Time of the image and of every file in the new layers, in seconds since 1970."""
    builder: str = ""
    """docker, podman or buildah. Empty: the first that works on this machine."""


def build(request: ImageBuild) -> Path:
    """Path of the image's docker archive. Builds the image only if its inputs changed. Raises ClusterError."""
    program = choose_builder(request.builder)
    archive = _archive(request, _inputs_of(program))
    # All images share buildah's storage: a build that removes old layers could remove those of another build.
    with exclusive(archive.parent, "images"):
        if archive.is_file():
            say(f"{request.tag}: nothing changed since it was built")
            return archive
        partial = archive.with_name(f".{archive.name}.{os.getpid()}")
        try:
            _build_to[program](request, partial)
            partial.replace(archive)
        finally:
            partial.unlink(missing_ok=True)
        _forget_old(archive)
    return archive


def build_base(request: ImageBuild) -> str:
    """Build an image that other Dockerfiles start from, and return its name in the builder's storage.

    The tag ends with a digest of the inputs. No archive is written: several gigabytes would take minutes. Raises
    ClusterError.
    """
    program = choose_builder(request.builder)
    named = replace(request, tag=f"{request.tag}-{digest_of(request, _inputs_of(program))}")
    with exclusive(cache() / "images", "images"):
        if _stored(named.tag, program):
            say(f"{named.tag}: nothing changed since it was built")
        else:
            _build_in_storage[program](named)
    return named.tag


def choose_builder(wanted: str = "") -> str:
    """`wanted`, or the first of docker, podman and buildah that works here.

    A docker without a running daemon does not work. Raises ClusterError that says what each builder lacks.
    """
    if wanted and wanted not in _BUILDERS:
        raise ClusterError(f"no builder {wanted!r}", f"one of {', '.join(_BUILDERS)}")
    reasons = []
    for name in (wanted,) if wanted else _BUILDERS:
        reason = _blocked[name]()
        if reason is None:
            return name
        reasons.append(reason)
    raise ClusterError(
        "no image can be built here\n  " + "\n  ".join(reasons),
        "install Docker or podman, or run this as root: then buildah and debootstrap are enough",
    )


def _podman_blocked() -> str | None:
    if find("podman") is None:
        return "podman is not installed"
    try:
        done = subprocess.run(["podman", "info"], capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        return f"podman did not answer within {_ANSWER_SECONDS:.0f} s"
    return None if done.returncode == 0 else f"podman does not work: {' '.join(done.stderr.split())[-300:]}"


def _buildah_blocked() -> str | None:
    if platform.system() != "Linux":
        return f"buildah needs Linux, this is {platform.system()}"
    if os.geteuid() != 0:
        return "buildah with a base of our own needs root"
    absent = [name for name in ("buildah", "debootstrap") if find(name) is None]
    if absent and shutil.which("apt-get") is None:
        return f"missing programs: {', '.join(absent)}"
    return None


_blocked: Mapping[str, Callable[[], str | None]] = {
    "docker": docker.why_not,
    "podman": _podman_blocked,
    "buildah": _buildah_blocked,
}


def _inputs_of(program: str) -> str:
    """The inputs of an image that come from the builder."""
    return f"buildah, {_debian_release()}, {_BASE_RECIPE}" if program == "buildah" else program


def _stored(tag: str, program: str) -> bool:
    command = _buildah() if program == "buildah" else [program]
    known = subprocess.run([*command, "images", "-q", tag], capture_output=True, text=True, check=False)
    return known.returncode == 0 and bool(known.stdout.strip())


def copied_sources(dockerfile: str) -> tuple[str, ...]:
    """Paths of the build context that the COPY and ADD lines of a Dockerfile take, without copies between stages."""
    joined = re.sub(r"\\\n", " ", dockerfile)
    sources: list[str] = []
    for line in joined.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] and words[0].upper() in {"COPY", "ADD"} and not any(w.startswith("--from") for w in words):
            sources += [w for w in words[1:-1] if not w.startswith("--")]
    return tuple(dict.fromkeys(sources))


def digest_of(request: ImageBuild, builder: str) -> str:
    """SHA-256 of all inputs of the image, 16 hex digits.

    Raises ClusterError when the Dockerfile, or a file that it copies, is missing.
    """
    try:
        text = request.dockerfile.read_text()
    except OSError as error:
        raise ClusterError(f"no Dockerfile: {error}") from error
    sha = hashlib.sha256()
    settings = [f"{k}={v}" for pairs in (request.arguments, request.labels) for k, v in sorted(pairs.items())]
    for part in (builder, request.tag, text, *settings, f"created {request.created}"):
        sha.update(f"{len(part)}:{part}".encode())
    for source in copied_sources(text):
        found = sorted(request.context.glob(source)) if set(source) & set("*?[") else [request.context / source]
        if not found or not found[0].exists():
            raise ClusterError(f"{request.dockerfile} copies {source}, which is not in {request.context}")
        for file in (file for top in found for file in _files(top)):
            name = str(file.relative_to(request.context))
            content = file.read_bytes()
            sha.update(f"{len(name)}:{name}:{file.stat().st_mode & 0o111}:{len(content)}:".encode())
            sha.update(content)
    return sha.hexdigest()[:16]


def _files(top: Path) -> list[Path]:
    if top.is_file():
        return [top]
    found = []
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(set(folders) - _IGNORED)
        found += [Path(folder) / file for file in sorted(files)]
    return found


def _archive(request: ImageBuild, builder: str) -> Path:
    name = re.sub(r"[^a-z0-9.]+", "-", request.tag.lower())
    return cache() / "images" / f"{name}.{digest_of(request, builder)}.tar"


def _forget_old(archive: Path) -> None:
    stem = archive.name.rsplit(".", 2)[0]
    same = sorted(archive.parent.glob(f"{stem}.*.tar"), key=lambda path: path.stat().st_mtime)
    for old in same[:-_KEPT_ARCHIVES]:
        old.unlink()


def _docker_build(request: ImageBuild) -> None:
    say(f"building {request.tag} with docker")
    # BuildKit takes the image's time from this argument. The files in its layers keep their own times.
    epoch = [] if request.created is None else ["--build-arg", f"SOURCE_DATE_EPOCH={request.created}"]
    _run(["docker", "build", "-t", request.tag, *epoch, *_common(request, request.arguments)])


def _build_with_docker(request: ImageBuild, to: Path) -> None:
    _docker_build(request)
    _run(["docker", "save", "-o", str(to), request.tag])


def _podman_build(request: ImageBuild) -> None:
    say(f"building {request.tag} with podman")
    _run(["podman", "build", "-t", request.tag, *_timestamp(request), *_common(request, request.arguments)])


def _build_with_podman(request: ImageBuild, to: Path) -> None:
    _podman_build(request)
    _run(["podman", "save", "--quiet", "--format", "docker-archive", "-o", str(to), request.tag])


def _buildah_build(request: ImageBuild) -> None:
    absent = [name for name in ("buildah", "debootstrap") if find(name) is None]
    if absent:
        debian.install_programs(absent)
    _tidy_storage()
    arguments = dict(request.arguments)
    if "BASE" not in arguments:
        arguments["BASE"] = _python_base()
    say(f"building {request.tag} with buildah on {arguments['BASE']}")
    borrowed = [part for path in _BORROWED if Path(path).exists() for part in ("-v", f"{path}:{path}:ro")]
    _run([*_buildah(), "bud", "--network", "host", "--layers", "-t", request.tag, *borrowed, *_limits(),
          *_timestamp(request), *_common(request, arguments)])  # fmt: skip


_BUILDAHS_PROCESSES = 32_768


def _limits() -> list[str]:
    """Resource limits for a build without CAP_SYS_RESOURCE, as in a container: there no limit can be raised.

    Newer versions of buildah raise the number of open files; older versions first lower the number of processes. So
    each limit is the lower one of this process's limit and the limit that buildah sets.
    """
    files, processes = resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_NPROC)
    few = [_BUILDAHS_PROCESSES if n == resource.RLIM_INFINITY else min(n, _BUILDAHS_PROCESSES) for n in processes]
    limits = {"nofile": files, "nproc": few}
    return [part for name, (soft, hard) in limits.items() for part in ("--ulimit", f"{name}={soft}:{hard}")]


def _build_with_buildah(request: ImageBuild, to: Path) -> None:
    _buildah_build(request)
    _run([*_buildah(), "push", request.tag, f"docker-archive:{to}:{request.tag}"])


_build_in_storage: Mapping[str, Callable[[ImageBuild], None]] = {
    "docker": _docker_build,
    "podman": _podman_build,
    "buildah": _buildah_build,
}
_build_to: Mapping[str, Callable[[ImageBuild, Path], None]] = {
    "docker": _build_with_docker,
    "podman": _build_with_podman,
    "buildah": _build_with_buildah,
}


def _timestamp(request: ImageBuild) -> list[str]:
    return [] if request.created is None else ["--timestamp", str(request.created)]


def _tidy_storage() -> None:
    """Remove the remains of killed builds, and old layers if there are many.

    Other layers stay, so that a change of our code does not install the dependencies again.
    """
    _run([*_buildah(), "rm", "--all"])
    if len(_run([*_buildah(), "images", "--all", "--quiet"]).split()) > _KEPT_LAYERS:
        _run([*_buildah(), "rmi", "--prune"])


def _common(request: ImageBuild, arguments: Mapping[str, str]) -> list[str]:
    given = [part for key, value in sorted(arguments.items()) for part in ("--build-arg", f"{key}={value}")]
    given += [part for key, value in sorted(request.labels.items()) for part in ("--label", f"{key}={value}")]
    return [*given, "-f", str(request.dockerfile), str(request.context)]


def _buildah() -> list[str]:
    """The buildah command, with its storage in our cache, and a mount namespace so that its mounts end with it."""
    storage = cache() / "buildah"
    return ["unshare", "--mount", "buildah", "--root", str(storage / "storage"), "--runroot", str(storage / "run")]


def _python_base() -> str:
    """Name of a minimal Debian with Python in buildah's storage. It is made once for each Debian release."""
    release = _debian_release()
    tag = f"localhost/andante/python-base:{release}-{_BASE_RECIPE}"
    if _stored(tag, "buildah"):
        return tag
    say(f"making the base image {tag} with debootstrap (once, 1 to 2 minutes)")
    root = cache() / "buildah" / f"debootstrap-{release}"
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    _run(["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={','.join(_BASE_PACKAGES)}",
          f"--arch={go_arch()}", release, str(root), _mirror()])  # fmt: skip
    _make_repeatable(root)
    container = _run([*_buildah(), "from", "scratch"]).strip()
    try:
        _run([*_buildah(), "copy", "--quiet", container, str(root), "/"])
        _run([*_buildah(), "commit", "--quiet", "--timestamp", "0", container, tag])
    finally:
        _run([*_buildah(), "rm", container])
        shutil.rmtree(root)
    return tag


def _make_repeatable(root: Path) -> None:
    """Remove everything that differs between two runs of debootstrap, and compile Python with hashes of its sources.

    The commit sets one time for all files. Compiled files that compare times would then seem out of date.
    """
    for leftover in ("var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/ldconfig", "var/cache/debconf"):
        shutil.rmtree(root / leftover, ignore_errors=True)
        (root / leftover).mkdir(parents=True)
    for leftover in ("var/cache/apt/archives/partial", "var/lib/apt/lists/partial"):
        (root / leftover).mkdir(parents=True)
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        (root / name).unlink(missing_ok=True)
    # Dates of the last password change are the day of the debootstrap. No account of the image has a password.
    for shadow in (root / "etc" / "shadow", root / "etc" / "shadow-"):
        if shadow.exists():
            shadow.write_text(re.sub(r"(?m)^([^:\n]*:[^:\n]*:)\d+", r"\1", shadow.read_text()))
    for compiled in root.rglob("__pycache__"):
        shutil.rmtree(compiled)
    compiling = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "/usr/lib/python3"]
    _run(["unshare", "--mount", "env", "PYTHONHASHSEED=0", "chroot", str(root), *compiling,
          *(f"/{path.relative_to(root)}" for path in sorted(root.glob("usr/lib/python3.*")))])  # fmt: skip


def _debian_release() -> str:
    """Code name of this machine's Debian; on another system, of the Debian that the project is built on."""
    text = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    name = values.get("VERSION_CODENAME", "").strip('"')
    return name if values.get("ID") == "debian" and name else "bookworm"


def _mirror() -> str:
    """The Debian mirror that this machine's apt uses."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        listed = ""
    release = _debian_release()
    uris = [line.split()[0] for line in listed.splitlines() if line.split()[1:] == [release]]
    return next((uri for uri in uris if uri.rstrip("/").endswith("/debian")), "http://deb.debian.org/debian")


def _run(command: Sequence[str]) -> str:
    # podman reads these variables too, and uses the user's storage: leave its settings alone.
    ours = {} if command[0] == "podman" else {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
    env = {**ours, **os.environ}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-1500:]
        raise ClusterError(f"`{shlex.join(command)}` failed:\n{said}", "python3 -m hack.localcluster doctor")
    return done.stdout
