"""A start that is killed by SIGKILL at any step: `down` leaves nothing behind, and a start after it goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hack.localcluster import cli
from hack.localcluster.settings import REPOSITORY
from tests.cluster.quick_start import Killed

NAME = f"killed-{os.getpid()}"
_SHARES = 4
_STEPS = 120  # a start has more; fewer would mean that the steps are not seen any more


@pytest.mark.parametrize("share", range(_SHARES))
def test_nothing_is_left_and_a_start_goes_on_whichever_step_was_the_last(tmp_path: Path, share: int) -> None:
    """Every step of a start, in four shares: each open, write, rename, removal, folder and process."""
    command = [sys.executable, "-m", "tests.cluster.quick_start", NAME, str(tmp_path), str(share + 1), str(_SHARES)]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    finally:
        cli.main(["down", "--name", NAME])
    assert done.returncode == 0, done.stderr
    killed = [Killed(**json.loads(line)) for line in done.stdout.splitlines()]
    assert [one for one in killed if one.exit_status != 0 or one.left] == []
    assert {one.after for one in killed} == {"up", "down"}
    assert len({one.step for one in killed}) > _STEPS / _SHARES
