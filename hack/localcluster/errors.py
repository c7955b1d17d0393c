"""Defines the error that the tool shows to people: what went wrong, and how to fix it."""

from __future__ import annotations


class ClusterError(Exception):
    """`what` says what failed and why; `remedy` is a command or an action, or empty where there is none."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n  to fix it: {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy
