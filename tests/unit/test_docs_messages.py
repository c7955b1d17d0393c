"""What the programs say to a user names only what exists: the CRD's texts, conditions, errors, the chart's notes."""

from __future__ import annotations

from hack.docs import messages

from docs_faults import expect_none


def test_messages_name_only_what_exists() -> None:
    expect_none(messages.faults())
