"""Is an `andante-engine` whose API server records how long its event loop was blocked, for tests of hostile clients.

A task runs every 2 ms. A gap longer than `NOTED_SECONDS` becomes a line in the file that the environment names, with
the time and the processor time of this process in the gap. Other programs make gaps longer, but not our processor time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

FILE_VARIABLE = "TEST_HOLDS_FILE"
NOTED_SECONDS = 0.01
_EVERY_SECONDS = 0.002


def holds_since(file: Path, when: float) -> list[float]:
    """Seconds of each gap since `when` (monotonic): clock time or processor time, whichever is less."""
    lines = (line.split() for line in file.read_text().splitlines())
    return [min(float(wall), float(processor)) for at, wall, processor in lines if float(at) >= when]


def _watch(file: str) -> None:
    loop = asyncio.get_running_loop()
    notes = Path(file).open("a", buffering=1)  # noqa: SIM115  as long as the process
    last = (time.monotonic(), time.process_time())

    def look() -> None:
        nonlocal last
        now = (time.monotonic(), time.process_time())
        wall, processor = now[0] - last[0], now[1] - last[1]
        last = now
        if wall > NOTED_SECONDS:
            notes.write(f"{now[0]} {wall} {processor}\n")
        loop.call_later(_EVERY_SECONDS, look)

    look()


def main() -> int:
    from andante_vllm import cli, middleware

    plain = middleware.DeliveryMeter.__init__

    def watched(self: Any, app: Any) -> None:
        plain(self, app)
        _watch(os.environ[FILE_VARIABLE])

    middleware.DeliveryMeter.__init__ = watched  # type: ignore[method-assign]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
