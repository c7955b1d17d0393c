"""Which JSON documents are text that can be written down again, however they come in pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from andante_vllm.json_encoding import JSONEncoding

PARTS = ("\\ud83d", "\\uDE00", "\\u00e9", "\\\\", "\\n", '\\"', "u", "d83d", "é", "한", "😀", " ")
DOCUMENTS = st.lists(st.sampled_from(PARTS), max_size=12).map(lambda parts: f'"{"".join(parts)}"'.encode())


def _problem(*pieces: bytes) -> str | None:
    encoding = JSONEncoding()
    for piece in pieces:
        encoding.add(piece)
    return encoding.problem()


def _can_be_written(document: bytes) -> bool:
    try:
        json.loads(document).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(DOCUMENTS, st.lists(st.integers(0, 80)))
@example(b'"\\ud83d\\\\\\ude00"', [])
@example(b'"\\ud83d\\ude00"', [7])
@example(b'"\\ud83d\\ud83d\\ude00"', list(range(30)))
def test_half_a_character_is_found_wherever_the_pieces_end(document: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(document)) for cut in cuts), len(document)]
    problem = _problem(*(document[a:b] for a, b in itertools.pairwise(places)))
    assert (problem is None) == _can_be_written(document)


@given(st.text(max_size=30), st.booleans())
def test_any_text_is_fine(text: str, ascii_only: bool) -> None:
    assert _problem(json.dumps(text, ensure_ascii=ascii_only).encode()) is None


@pytest.mark.parametrize("cut", range(5))
def test_half_a_character_is_found_as_bytes_too(cut: int) -> None:
    document = b'"\xed\xa0\xbd"'
    assert _problem(document[:cut], document[cut:]) == "it has half of a character (a surrogate) as bytes"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_other_encodings_are_named(encoding: str) -> None:
    assert _problem(json.dumps({"prompt": "漢"}).encode(encoding)) == "it is not in UTF-8"
