"""Trace readers: what they read, and that a broken line is refused with its number."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andante.cli.errors import InputError
from andante.cli.traces import TraceFormat, read_trace, write_trace
from andante.domain.trace import TraceRequest

HEADER = "arrival_s,prompt_tokens,output_tokens\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
ROOT = Path(__file__).parents[2]

lengths = st.integers(1, 10**6)
names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=8)
rows = st.tuples(st.integers(0, 10**7), lengths, lengths, names, names)


def _trace(tmp_path: Path, text: str, name: str = "trace.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_the_canonical_form(tmp_path: Path) -> None:
    path = _trace(
        tmp_path, "arrival_s,prompt_tokens,output_tokens,prefix_group,qoe_class\n0.5,3,4,g,voice\n0.5,1,1,,\n"
    )
    assert read_trace(path) == [
        TraceRequest(arrival_s=0.5, prompt_tokens=3, output_tokens=4, qoe_class="voice", prefix_group="g"),
        TraceRequest(arrival_s=0.5, prompt_tokens=1, output_tokens=1),
    ]


def test_azure_counts_from_its_first_row_with_seven_fraction_digits(tmp_path: Path) -> None:
    text = AZURE + "2023-11-16 23:59:59.9999990,374,44\r\n2023-11-17 00:00:01.2500000,396,109"
    assert [(r.arrival_s, r.prompt_tokens, r.output_tokens) for r in read_trace(_trace(tmp_path, text))] == [
        (0.0, 374, 44),
        (1.250001, 396, 109),
    ]


def test_mooncake_takes_the_first_block_for_the_prefix(tmp_path: Path) -> None:
    text = '{"timestamp": 1500, "input_length": 600, "output_length": 7, "hash_ids": [46, 47]}\n'
    assert read_trace(_trace(tmp_path, text)) == [
        TraceRequest(arrival_s=1.5, prompt_tokens=600, output_tokens=7, prefix_group="46")
    ]


@given(data=st.lists(rows, min_size=1, max_size=20))
def test_what_is_written_is_read_again(data: list[tuple[int, int, int, str, str]], tmp_path_factory: object) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    requests = [
        TraceRequest(arrival_s=ms / 1000, prompt_tokens=p, output_tokens=o, qoe_class=c, prefix_group=g)
        for ms, p, o, c, g in sorted(data)
    ]
    path = tmp_path_factory.mktemp("trace") / "trace.csv.gz"
    write_trace(path, requests)
    assert read_trace(path) == requests


def test_gzip_is_recognised_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(gzip.compress((HEADER + "0,1,1\n").encode()))
    assert len(read_trace(path)) == 1


def test_writing_the_same_trace_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    requests = [TraceRequest(arrival_s=0.0, prompt_tokens=1, output_tokens=1)]
    for name in ("a.csv.gz", "b.csv.gz"):
        write_trace(tmp_path / name, requests)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("nan,1,1", "arrival_s"), ("inf,1,1", "arrival_s"), ("-1,1,1", "arrival_s"), ("x,1,1", "arrival_s"),
        ("1_0,1,1", "arrival_s"), ("4,0,1", "prompt_tokens"), ("4,1.5,1", "prompt_tokens"), ("4,,1", "prompt_tokens"),
        ("4,1,0", "output_tokens"), ("4,1,-2", "output_tokens"), ("4,1", "2 columns"), ("4,1,1,1", "4 columns"),
        ("", "empty"), ("2.9,1,1", "before the previous"), ('"4,1,1', ""),
    ],
)  # fmt: skip
def test_a_broken_line_is_refused_with_its_number(tmp_path: Path, line: str, field: str) -> None:
    path = _trace(tmp_path, HEADER + "3.0,5,5\n" + line + "\n5,1,1\n")
    with pytest.raises(InputError, match=rf"trace\.csv: line [34]: .*{field}"):
        read_trace(path)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("2023-11-16 18:15:47,1,1", "TIMESTAMP"), ("yesterday,1,1", "TIMESTAMP"),
        ("2023-11-16 18:15:40.0000000,1,1", "before the first"),
        ("2023-11-16 18:15:47.0000000,1,0", "output_tokens"), ("2023-11-16 18:15:47.0000000,1", "2 columns"),
    ],
)  # fmt: skip
def test_a_broken_azure_line_is_refused_with_its_number(tmp_path: Path, line: str, word: str) -> None:
    path = _trace(
        tmp_path, AZURE + "2023-11-16 18:15:46.6805900,374,44\r\n" + line + "\r\n2023-11-16 18:15:48.0000000,1,1"
    )
    with pytest.raises(InputError, match=rf"line 3: .*{word}"):
        read_trace(path)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("", "not JSON"), ("{", "not JSON"), ("[1]", "not a JSON object"), ('{"timestamp": 1}', "input_length"),
        ('{"timestamp": NaN, "input_length": 1, "output_length": 1}', "arrival_s"),
        ('{"timestamp": true, "input_length": 1, "output_length": 1}', "timestamp"),
        ('{"timestamp": 9, "input_length": 1.5, "output_length": 1}', "input_length"),
        ('{"timestamp": 9, "input_length": 1, "output_length": 1, "hash_ids": 3}', "hash_ids"),
    ],
)  # fmt: skip
def test_a_broken_mooncake_line_is_refused_with_its_number(tmp_path: Path, line: str, word: str) -> None:
    good = '{"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": []}\n'
    path = _trace(tmp_path, good + line + "\n" + good, "trace.jsonl")
    with pytest.raises(InputError, match=rf"line 2: .*{word}"):
        read_trace(path)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "unknown header"), ("a,b,c\n1,2,3\n", "unknown header"), (HEADER, "no request"),
        ("arrival_s,prompt_tokens,output_tokens,colour\n", "colour"),
        ("arrival_s,prompt_tokens,output_tokens,qoe_class,qoe_class\n", "twice"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        read_trace(_trace(tmp_path, text))


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b[:20] + b"\x00\xff\x00" + b[23:]])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(damage(gzip.compress((HEADER + "0,1,1\n" * 50).encode(), mtime=0)))
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_trace(tmp_path / "nothing.csv")


def test_a_format_can_be_named_against_the_header(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1"):
        read_trace(_trace(tmp_path, HEADER + "0,1,1\n"), trace_format=TraceFormat.AZURE_2023)


def test_the_example_trace_is_as_its_readme_says() -> None:
    requests = read_trace(ROOT / "examples" / "traces" / "azure2023_conv_10min.csv.gz")
    assert len(requests) == 2867
    assert 599 < requests[-1].arrival_s < 600
