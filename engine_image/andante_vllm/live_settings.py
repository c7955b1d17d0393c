"""Reads qoe.yaml again whenever it changes: Kubernetes updates a ConfigMap in the running pod.

The delivery meter (API server process) and the scheduler (engine core process) each hold one reader. No thread: the
owner may ask at any time, and the file is checked at most once a second. A file that cannot be used is refused: the
last good settings stay, the log says why, and `refusals` counts the refusal.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from andante.engine_config import QoESettings
from andante_vllm.settings import ConfigError, read_qoe_settings

CHECK_EVERY_SECONDS = 1.0

_Signature = tuple[int, int, int] | None


class LiveQoESettings:
    """The QoE settings in force."""

    def __init__(
        self,
        path: Path,
        *,
        log_error: Callable[[str], None],
        log_info: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read `path` at once. Raises ConfigError if it cannot be used, as there are no earlier settings."""
        self._path = path
        self._log_error = log_error
        self._log_info = log_info
        self._clock = clock
        self._signature = _signature(path)
        self._checked_at = clock()
        self._settings = read_qoe_settings(path)
        self.version = 1
        """Grows with every accepted change."""
        self.refusals = 0
        """Number of refused changes since the start."""
        self.valid = True
        """Whether the present file is in force."""

    def current(self) -> QoESettings:
        """The settings in force; checks the file if the last check is a second old."""
        now = self._clock()
        if now - self._checked_at >= CHECK_EVERY_SECONDS:
            self._checked_at = now
            # The kubelet replaces a symlink, so the target's identity changes, not only its time.
            signature = _signature(self._path)
            if signature != self._signature:
                self._signature = signature
                self._read_again(gone=signature is None)
        return self._settings

    def _read_again(self, *, gone: bool) -> None:
        try:
            if gone:  # at the start a missing file means "use the defaults", now it is an error
                raise ConfigError(f"{self._path}: is gone")
            settings = read_qoe_settings(self._path)
        except ConfigError as error:
            self.refusals += 1
            self.valid = False
            self._log_error(f"QoE settings refused, the ones before stay in force: {error}")
            return
        self.valid = True
        if settings != self._settings:
            self._settings = settings
            self.version += 1
            self._log_info(f"QoE settings of {self._path} taken over: {len(settings.classes)} classes")


def _signature(path: Path) -> _Signature:
    try:
        status = os.stat(path)  # noqa: PTH116  follows the kubelet's symlinks
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
