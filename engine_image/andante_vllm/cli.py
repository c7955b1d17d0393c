"""Implements the `andante-engine` command, which an engine pod runs."""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from andante.profiles import load_profiles
from andante_vllm import compilation, model_notes
from andante_vllm.compat import ALL, Compatibility, examine
from andante_vllm.drain import announcement_file, run_folder
from andante_vllm.launch import Folders, Launch, plan_launch
from andante_vllm.settings import ConfigError, qoe_settings_path, read_engine_config, read_qoe_settings
from andante_vllm.stock import report_stock
from andante_vllm.virtual_start import keep_start_method

CACHE_VARIABLE = "ANDANTE_ENGINE_CACHE"
DEFAULT_CACHE = Path("/var/cache/andante")
BAD_CONFIG = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status (2: a bad command line or config, the field named on stderr)."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ConfigError as error:
        print(f"andante-engine: {error}", file=sys.stderr)
        return BAD_CONFIG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="andante-engine",
        description="Serves a model with vLLM, the QoE scheduler and the delivery meter.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    serve = commands.add_parser(
        "serve",
        help="start the OpenAI-compatible server that a config file describes",
        description="Checks FILE and the qoe.yaml beside it, then becomes `vllm serve`. A bad field is named and the "
        "exit status is 2, before vLLM loads. qoe.yaml is read again whenever it changes. Writes to the cache folder "
        f"(${CACHE_VARIABLE}, default {DEFAULT_CACHE} or, where that cannot be written, the temporary folder) only.",
    )
    serve.add_argument("--config", required=True, type=Path, metavar="FILE", help="engine.yaml")
    serve.add_argument("--print-command", action="store_true", help="print environment and command, start nothing")
    serve.set_defaults(run=_serve)
    drain = commands.add_parser(
        "drain",
        help="tell the server that it will be told to stop, and wait",
        description="For a pod's preStop hook. The server that FILE describes goes on serving, and closes each "
        "client's connection with its next reply, so that no client keeps one to a server that has gone.",
    )
    drain.add_argument("--config", required=True, type=Path, metavar="FILE", help="engine.yaml")
    drain.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help="default %(default)s")
    drain.set_defaults(run=_drain)
    make = commands.add_parser(
        "make-model",
        help="write a tiny model (tokenizer, config, optionally random weights) without any network",
        description="Writes a tiny Llama-shaped model into DIR. Without weights it serves the virtual GPU and "
        "`--load-format dummy`; with them vLLM's CPU backend computes real, if meaningless, text.",
    )
    make.add_argument("directory", type=Path, metavar="DIR", help="folder to write; replaced if it exists")
    make.add_argument("--random-weights", action="store_true", help="write model.safetensors too")
    make.add_argument(
        "--hidden-size", type=int, default=128, metavar="N", help="a multiple of 64 (default %(default)s)"
    )
    make.add_argument("--layers", type=int, default=2, metavar="N", help="default %(default)s")
    make.add_argument("--max-model-len", type=int, default=32_768, metavar="TOKENS", help="default %(default)s")
    make.add_argument("--seed", type=int, default=0, help="of the random weights (default %(default)s)")
    make.set_defaults(run=_make_model)
    return parser


def _make_model(arguments: argparse.Namespace) -> int:
    from andante_vllm.tiny_model import make_model

    try:
        directory = make_model(
            arguments.directory,
            random_weights=arguments.random_weights,
            hidden_size=arguments.hidden_size,
            layers=arguments.layers,
            max_model_len=arguments.max_model_len,
            seed=arguments.seed,
        )
    except (ValueError, OSError) as error:
        raise ConfigError(f"make-model: {error}") from error
    print(directory)
    return 0


def _drain(arguments: argparse.Namespace) -> int:
    try:
        _announce_end(arguments.config)
    finally:  # also after an error: kube-proxies and gateways need the time
        time.sleep(max(0.0, arguments.wait))
    return 0


def _announce_end(config: Path) -> None:
    file = announcement_file(read_engine_config(config).port)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from error


def _serve(arguments: argparse.Namespace) -> int:
    # As PID 1 a process without a handler ignores SIGTERM: a pod that is deleted during vLLM's import would stay until
    # its grace period ends. vLLM replaces the handler later. For the same reason vLLM runs in this process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    path = arguments.config.resolve()
    config = read_engine_config(path)
    read_qoe_settings(qoe_settings_path(path))
    if config.model.source == "path" and not (Path(config.model.id) / "config.json").is_file():
        raise ConfigError(f"{path}: model.id: no model at {config.model.id}: config.json is not there")
    folders = Folders(cache=_cache_folder(), metrics=run_folder(config.port) / "metrics")

    def plan(compatibility: Compatibility = ALL) -> Launch:
        try:
            return plan_launch(
                config, config_path=path, folders=folders, profiles=load_profiles(), compatibility=compatibility
            )
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    launch = plan()
    if arguments.print_command:
        print(_as_shell(launch))
        return 0
    announcement_file(config.port).unlink(missing_ok=True)  # from an earlier start in the same pod
    _prepare(launch, folders)
    _set_environment(launch)
    model_notes.hand_on(Path(os.environ["VLLM_CACHE_ROOT"]))
    gc.disable()  # until vLLM is imported: what an import makes stays, and to look through it takes a fifth of the time
    found = examine()
    if found != ALL:
        launch = plan(found)
        report_stock(found, model_name=config.model.served_name, policy=config.scheduler.policy)
    if config.scheduler.policy != "fcfs" and not found.scheduler:
        _compile_beside_the_start(folders)
    return _become_vllm(launch, virtual=config.virtual_gpu is not None)


def _compile_beside_the_start(folders: Folders) -> None:
    if not compilation.is_there(chosen=os.environ["NUMBA_CACHE_DIR"]):
        print("andante-engine: compiling the scheduling policy for this processor, beside the start", flush=True)
        compilation.start(folders.metrics.parent / "compilation.lock")


def _cache_folder() -> Path:
    chosen = os.environ.get(CACHE_VARIABLE)
    folder = Path(chosen) if chosen else DEFAULT_CACHE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if chosen:
            raise ConfigError(f"{CACHE_VARIABLE}: {chosen} cannot be made: {error.strerror}") from error
    if os.access(folder, os.W_OK):
        return folder
    if chosen:
        raise ConfigError(f"{CACHE_VARIABLE}: {chosen} is not writable for uid {os.getuid()}")
    return _own_folder(Path(tempfile.gettempdir()) / f"andante-engine-cache-{os.getuid()}")


def _own_folder(folder: Path) -> Path:
    """Make `folder` private, as compiled code is run from it. Raises ConfigError where another user may write to it."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise ConfigError(
            f"{CACHE_VARIABLE}: {folder} cannot be made: {error.strerror}; name another folder"
        ) from error
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise ConfigError(f"{CACHE_VARIABLE}: others may write to {folder}; remove it, or name another folder")
    return folder


def _prepare(launch: Launch, folders: Folders) -> None:
    """Make the folders and, if configured, the synthetic model. Raises ConfigError where a write fails."""
    try:
        # The metrics would count files of an earlier start in the same container again.
        shutil.rmtree(folders.metrics, ignore_errors=True)
        folders.metrics.mkdir(parents=True, mode=0o700)
        folders.home.mkdir(parents=True, exist_ok=True)
        if launch.synthetic_max_model_len is not None:
            from andante_vllm.tiny_model import make_model

            make_model(
                folders.synthetic_model,
                random_weights="dummy" not in launch.arguments,
                max_model_len=launch.synthetic_max_model_len,
            )
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}; the engine needs it to start") from error


def _set_environment(launch: Launch) -> None:
    os.environ.update(launch.environment)
    for name, value in launch.default_environment.items():
        os.environ.setdefault(name, value)


def _become_vllm(launch: Launch, *, virtual: bool) -> int:
    sys.argv = ["vllm", *launch.arguments]
    from vllm.entrypoints.cli import serve  # noqa: F401 (`main` imports it later, with the collector on)
    from vllm.entrypoints.cli.main import main as vllm_main

    if virtual:
        keep_start_method()
    gc.freeze()
    gc.enable()
    vllm_main()
    return 0


def _as_shell(launch: Launch) -> str:
    variables = [f"{name}={shlex.quote(value)}" for name, value in sorted(launch.environment.items())]
    defaults = [f'{name}="${{{name}:-{value}}}"' for name, value in sorted(launch.default_environment.items())]
    return " \\\n  ".join([*defaults, *variables, f"vllm {shlex.join(launch.arguments)}"])


if __name__ == "__main__":
    sys.exit(main())
