"""Reads engine.yaml and qoe.yaml on the engine's side; every error names the file and the field.

`andante-engine serve` reads engine.yaml and sets its path in the environment, for the virtual GPU (engine core
process), the scheduler and the delivery meter (API server process). No vLLM import here.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from andante.engine_config import QOE_SETTINGS_FILE, EngineConfig, HTTPConfig, QoESettings

ENGINE_CONFIG_VARIABLE: Final = "ANDANTE_ENGINE_CONFIG"
"""Environment variable with the absolute path of engine.yaml; set by `andante-engine serve`."""

_Model = TypeVar("_Model", bound=BaseModel)


class ConfigError(ValueError):
    """A settings file cannot be used; the message names the file and the field, and says why."""


def read_engine_config(path: Path) -> EngineConfig:
    """Read and validate engine.yaml at `path`. Raises ConfigError."""
    return _read(path, EngineConfig)


def read_qoe_settings(path: Path) -> QoESettings:
    """Read and validate qoe.yaml at `path`; the defaults where the file does not exist. Raises ConfigError."""
    if not path.exists():
        return QoESettings()
    return _read(path, QoESettings)


def http_config() -> HTTPConfig:
    """The settings for connections from engine.yaml. Raises ConfigError."""
    return _http_config(engine_config_path())


@functools.cache
def _http_config(path: Path) -> HTTPConfig:
    return read_engine_config(path).http


def engine_config_path() -> Path:
    """The path of engine.yaml from the environment. Raises ConfigError if `andante-engine` did not start the engine."""
    value = os.environ.get(ENGINE_CONFIG_VARIABLE)
    if not value:
        raise ConfigError(f"{ENGINE_CONFIG_VARIABLE} is not set: start the engine with `andante-engine serve`")
    return Path(value)


def qoe_settings_path(engine_config: Path) -> Path:
    """The path of qoe.yaml, beside engine.yaml."""
    return engine_config.parent / QOE_SETTINGS_FILE


def _read(path: Path, model: type[_Model]) -> _Model:
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: must be a mapping of fields, got {type(document).__name__}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        problems = "\n".join(
            f"  {'.'.join(str(part) for part in detail['loc']) or '(document)'}: {detail['msg']}{_got(detail['input'])}"
            for detail in error.errors()
        )
        raise ConfigError(f"{path}:\n{problems}") from error


def _got(value: object) -> str:
    return f" (got {value!r})" if isinstance(value, str | int | float | bool) else ""
