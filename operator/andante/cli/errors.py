"""Bad input from the command line: exit status 2, with the field or the line named."""

from __future__ import annotations


class InputError(Exception):
    """What the user gave cannot be used; the message says which field or line, why, and what to do."""
