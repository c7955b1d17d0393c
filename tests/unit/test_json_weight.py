"""What a JSON document weighs before it is parsed, against what it turns out to hold."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante_vllm.json_weight import OBJECT, JSONWeight

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.sampled_from('a",\\[]{}é\n'))
)
DOCUMENTS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5)
)


def _held(document: Any) -> int:
    """An item or a field is 1, so is an empty list; an object is `OBJECT` beside it."""
    if isinstance(document, dict):
        return OBJECT + max(1, len(document)) + sum(map(_held, document.values()))
    if isinstance(document, list):
        return max(1, len(document)) + sum(map(_held, document))
    return 0


def _weight(*pieces: bytes) -> int:
    weight = JSONWeight()
    for piece in pieces:
        weight.add(piece)
    return weight.total


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_a_document_weighs_what_it_holds(document: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert _weight(text.encode()) == _held(document)


@given(DOCUMENTS, st.lists(st.integers(0, 200)))
def test_the_pieces_in_which_it_comes_change_nothing(document: Any, cuts: list[int]) -> None:
    text = json.dumps(document).encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert _weight(*(text[a:b] for a, b in itertools.pairwise(places))) == _held(document)


@given(st.lists(st.binary()))
def test_bytes_that_are_no_document_have_a_weight_too(pieces: list[bytes]) -> None:
    assert 0 <= _weight(*pieces) <= (OBJECT + 1) * sum(map(len, pieces))


@pytest.mark.parametrize("text", [b'"' + b"{,[" * 100, b'"' + b'\\"' * 100 + b"{,[", b'{"a,": "\\\\\\",{"'])
def test_texts_weigh_nothing(text: bytes) -> None:
    assert _weight(text) == (OBJECT + 1) * text.startswith(b"{")
