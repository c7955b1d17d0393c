"""Finds words that texts for users must not have: vague words for persons, and a verb that few readers know."""

from __future__ import annotations

import re

from hack.docs import messages
from hack.docs.markdown import GENERATED, Fault, Page

_INSTEAD = {
    "nobody": "name what there is none of: no client, no request, no user",
    "somebody": "say who: another tool, a person, a client",
    "someone": "say who: another tool, a person, a client",
    "whoever": "say who: the component, the request, the client",
    "he": "they",
    "him": "them",
    "his": "their",
    "mend": "fix, or correct",
    "mends": "fixes, or corrects",
    "mended": "fixed, or corrected",
    "mending": "fixing, or correcting",
}
_WORD = re.compile(rf"\b({'|'.join(_INSTEAD)})\b", re.IGNORECASE)
_OLDER = ("docs/decisions/", "examples/traces/")  # records of their time, which stay unchanged
_SPOKEN = ("operator/andante/api/", "operator/andante/app/", "crds/", "templates/", "charts/", "values")


def of_page(page: Page) -> list[Fault]:
    """The faults of a page for users. Generated pages are checked at their source."""
    if page.path.startswith(_OLDER) or page.path in GENERATED:
        return []
    found = []
    for at, line in enumerate(page.text.splitlines(), 1):
        found += [Fault(page.path, at, word, f"write {_INSTEAD[word.lower()]}") for word in _WORD.findall(line)]
    return found


def of_messages() -> list[Fault]:
    """The faults of the messages that the operator and the chart show to users."""
    return [
        Fault(file, line, word, f"write {_INSTEAD[word.lower()]}")
        for file, line, text in messages.sentences(docstrings=False)
        if file.startswith(_SPOKEN)
        for word in _WORD.findall(text)
    ]
