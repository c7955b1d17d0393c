"""Which draft tokens hold on the virtual device."""

from __future__ import annotations

import pytest

from andante_vllm.virtual_drafts import VirtualDrafts


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.7, 1.0])
def test_each_holds_as_often_as_it_should_if_those_before_it_did(acceptance: float) -> None:
    drafts = VirtualDrafts(acceptance=acceptance)
    held = [drafts.held(f"request {number % 50}", number, 4) for number in range(20_000)]
    for token in range(1, 5):
        share = sum(count >= token for count in held) / len(held)
        assert share == pytest.approx(acceptance**token, abs=0.01)


def test_what_holds_does_not_depend_on_how_much_is_drafted() -> None:
    drafts = VirtualDrafts(acceptance=0.7)
    for position in range(200):
        assert drafts.held("a", position, 2) == min(drafts.held("a", position, 5), 2)
        assert drafts.held("a", position, 0) == 0
