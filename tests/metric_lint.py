"""What promtool says of the text of a /metrics page."""

from __future__ import annotations

import subprocess

from debian_programs import program


def faults(text: str, *, of: str) -> list[str]:
    """The lines of `promtool check metrics` about metrics whose names begin with `of`."""
    promtool = program("prometheus", name="promtool")
    found = subprocess.run(
        [promtool.path, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=promtool.environment,
        timeout=60,
    )
    assert found.returncode in (0, 3), found.stderr  # 3: it found faults
    return [line for line in (found.stdout + found.stderr).splitlines() if line.startswith(of)]
