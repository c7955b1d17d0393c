"""Has the runbooks of all alerts, for who is on call without the documentation: `andante runbook` prints them.

The pages are in docs/runbooks; `make generate` writes those beside this file from them, as a terminal shows them.
`python -m andante.runbooks ALERT` prints one in the operator's image, which has no `andante` command.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib import resources

_NAMES = tuple(
    sorted(file.name.removesuffix(".md") for file in resources.files(__name__).iterdir() if file.name.endswith(".md"))
)
_LABEL_VALUE = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


class NoRunbookError(LookupError):
    """There is no runbook of that name; the message has the nearest names."""


def names() -> tuple[str, ...]:
    """Names of all alerts."""
    return _NAMES


def headline(alert: str) -> str:
    """What readers feel, and whether to get up."""
    return page(alert).split("\n\n")[1].replace("\n", " ").replace("**", "")


def page(alert: str, *, filled_in: Mapping[str, str] | None = None) -> str:
    """The runbook of an alert; upper and lower case are alike.

    `filled_in`: by placeholder (NAMESPACE, LLMSERVICE, POD) what the commands are to say. Raises NoRunbookError, and
    ValueError for a value that is no name of Kubernetes, as a shell would read it.
    """
    by_name = {name.lower(): name for name in _NAMES}
    if alert.lower() not in by_name:
        near = difflib.get_close_matches(alert.lower(), by_name, n=3, cutoff=0.5)
        near = near or [lower for lower in by_name if alert.lower() in lower]
        hint = f"did you mean {', '.join(by_name[one] for one in near)}?" if near else "`andante runbook` lists all"
        raise NoRunbookError(f"no alert has the name {alert}: {hint}")
    text = (resources.files(__name__) / f"{by_name[alert.lower()]}.md").read_text(encoding="utf-8")
    for placeholder, value in (filled_in or {}).items():
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"{value!r} is no name of a {placeholder.lower()}")
        text = re.sub(rf"(?<![A-Z_]){placeholder}(?![A-Z_])", value, text)
    return text
