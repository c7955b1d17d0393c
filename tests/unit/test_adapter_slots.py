"""Which adapters get the slots of a batch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from andante_vllm.adapter_slots import AdapterSlots


@given(
    st.integers(1, 3),
    st.lists(
        st.tuples(st.sampled_from(["wait", "start", "leave"]), st.sampled_from("abcdef"), st.integers(1, 5)),
        max_size=60,
    ),
)
def test_those_shown_have_an_adapter_that_finds_a_slot(slots: int, events: list[tuple[str, str, int]]) -> None:
    hidden: set[str] = set()
    batch = AdapterSlots(slots, show=hidden.discard, hide=hidden.add)
    waiting: dict[str, int] = {}
    running: dict[str, int] = {}
    for event, name, adapter in events:
        before = waiting.pop(name, None)
        running.pop(name, None)
        if event == "wait":
            batch.waits(name, adapter)
            waiting[name] = adapter
        elif event == "start" and before is not None and name not in hidden:
            batch.starts(name, before)
            running[name] = before
        else:
            batch.leaves(name)
        hidden.intersection_update(waiting)
        batch.refresh()
        loaded = set(running.values())
        shown = {adapter for name, adapter in waiting.items() if name not in hidden}
        assert len(shown | loaded) <= max(slots, len(loaded))
        # A slot is left over only if no adapter waits for one.
        if len(shown | loaded) < slots:
            assert shown | loaded == loaded | set(waiting.values())


def test_a_free_slot_goes_to_the_adapter_that_has_waited_longest() -> None:
    hidden: set[str] = set()
    batch = AdapterSlots(1, show=hidden.discard, hide=hidden.add)
    for name, adapter in (("a", 1), ("b", 2), ("c", 3), ("d", 2)):
        batch.waits(name, adapter)
    batch.refresh()
    assert hidden == {"b", "c", "d"}
    batch.starts("a", 1)
    batch.refresh()
    assert hidden == {"b", "c", "d"}
    batch.leaves("a")
    batch.refresh()
    assert hidden == {"c"}
