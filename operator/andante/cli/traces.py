"""Reads workload traces. A bad line is refused with its number; no line is skipped silently.

Canonical: CSV with the header `arrival_s,prompt_tokens,output_tokens[,qoe_class][,prefix_group]`, sorted by arrival.
Also: Azure's 2023 LLM inference trace (CSV) and Mooncake's traces (JSONL). Each may be gzipped.
"""

from __future__ import annotations

import csv
import enum
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from andante.cli.errors import InputError
from andante.domain.trace import TraceRequest

CANONICAL_REQUIRED = ("arrival_s", "prompt_tokens", "output_tokens")
CANONICAL_OPTIONAL = ("qoe_class", "prefix_group")
AZURE_2023 = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class TraceFormat(enum.StrEnum):
    """The formats that `andante trace convert` reads."""

    CANONICAL = "canonical"
    AZURE_2023 = "azure2023"
    MOONCAKE = "mooncake"


def read_trace(path: Path, *, trace_format: TraceFormat | None = None) -> list[TraceRequest]:
    """The requests of a trace, sorted by arrival, the first at its own offset.

    Without `trace_format` the header determines the format. Raises InputError naming file, line, field and reason.
    """
    text = read_text(path)
    first = text.split("\n", 1)[0].strip()
    if trace_format is None:
        trace_format = _guess(path, first)
    if trace_format is TraceFormat.MOONCAKE:
        rows: Iterator[TraceRequest] = _checked(path, enumerate(text.splitlines(), 1), _mooncake_row)
    else:
        rows = _csv_rows(path, text, azure=trace_format is TraceFormat.AZURE_2023)
    requests = list(rows)
    if not requests:
        raise InputError(f"{path}: the trace holds no request")
    return requests


def write_trace(path: Path, requests: Iterable[TraceRequest]) -> None:
    """Write the canonical form; gzipped when the name ends in .gz (with no time stamp, so that it is repeatable)."""
    requests = list(requests)
    optional = [c for c in CANONICAL_OPTIONAL if any(getattr(r, c) for r in requests)]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*CANONICAL_REQUIRED, *optional])
    for r in requests:
        extra = [getattr(r, c) for c in optional]
        writer.writerow([f"{r.arrival_s:.3f}", r.prompt_tokens, r.output_tokens, *extra])
    data = buffer.getvalue().encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def read_text(path: Path) -> str:
    """The text of `path`, gzipped or not. Raises InputError naming it."""
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _guess(path: Path, header: str) -> TraceFormat:
    fields = tuple(header.split(","))
    if fields[:3] == CANONICAL_REQUIRED:
        return TraceFormat.CANONICAL
    if fields == AZURE_2023:
        return TraceFormat.AZURE_2023
    if header.startswith("{"):
        return TraceFormat.MOONCAKE
    canonical = ",".join(CANONICAL_REQUIRED)
    raise InputError(
        f"{path}: line 1: unknown header {header[:80]!r}; expected {canonical}[,qoe_class][,prefix_group], "
        f"{','.join(AZURE_2023)} (Azure 2023) or a JSON object a line (Mooncake)"
    )


def _checked(
    path: Path, rows: Iterable[tuple[int, Any]], parse: Callable[[Any], TraceRequest]
) -> Iterator[TraceRequest]:
    previous = 0.0
    for number, row in rows:
        try:
            request = parse(row)
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{path}: line {number}: {reason}") from error
        if request.arrival_s < previous:
            raise InputError(
                f"{path}: line {number}: arrival_s {request.arrival_s} is before the previous {previous}; sort it"
            )
        previous = request.arrival_s
        yield request


def _csv_rows(path: Path, text: str, *, azure: bool) -> Iterator[TraceRequest]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    known = AZURE_2023 if azure else CANONICAL_REQUIRED + CANONICAL_OPTIONAL
    header = [f.strip() for f in next(reader)]
    for column in header:
        if column not in known:
            raise InputError(f"{path}: line 1: unknown column {column!r}; known are {', '.join(known)}")
        if header.count(column) > 1:
            raise InputError(f"{path}: line 1: the column {column!r} appears twice")
    parse = _AzureRow() if azure else _canonical_row

    def numbered() -> Iterator[tuple[int, Any]]:
        try:
            for row in reader:
                if len(row) != len(header):
                    found = "empty" if not row else f"{len(row)} columns"
                    raise InputError(f"{path}: line {reader.line_num}: {found}, expected {len(header)} columns")
                yield reader.line_num, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: {error}") from error

    return _checked(path, numbered(), parse)


def number_in(row: dict[str, Any], field: str, kind: Callable[[Any], Any]) -> Any:
    """The field as a number of `kind`. Raises ValueError naming the field, KeyError where the row has no such field."""
    value = row[field]
    word = "whole number" if kind is int else "number"
    # Python reads True as 1, 1_0 as 10 and int(1.5) as 1; a trace with these values is broken.
    if isinstance(value, bool) or "_" in str(value) or (kind is int and isinstance(value, float)):
        raise ValueError(f"{field}: {value!r} is not a {word}")
    try:
        return kind(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{field}: {value!r} is not a {word}") from error


def _canonical_row(row: dict[str, Any]) -> TraceRequest:
    return TraceRequest(
        arrival_s=number_in(row, "arrival_s", float),
        prompt_tokens=number_in(row, "prompt_tokens", int),
        output_tokens=number_in(row, "output_tokens", int),
        qoe_class=row.get("qoe_class") or "",
        prefix_group=row.get("prefix_group") or "",
    )


class _AzureRow:
    """Reads rows of Azure's trace, which have wall-clock times; arrivals count from the first row."""

    def __init__(self) -> None:
        self._origin: datetime | None = None

    def __call__(self, row: dict[str, Any]) -> TraceRequest:
        text = row["TIMESTAMP"]
        try:
            # Seven fraction digits: one more than datetime can read.
            at = datetime.strptime(text[:26], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC)
        except ValueError as error:
            raise ValueError(f"TIMESTAMP: {text!r} is not of the form YYYY-MM-DD HH:MM:SS.fffffff") from error
        self._origin = self._origin or at
        if at < self._origin:
            raise ValueError(f"TIMESTAMP: {text!r} is before the first row's; sort it")
        return TraceRequest(
            arrival_s=(at - self._origin).total_seconds(),
            prompt_tokens=number_in(row, "ContextTokens", int),
            output_tokens=number_in(row, "GeneratedTokens", int),
        )


def _mooncake_row(line: str) -> TraceRequest:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg}") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    hashes = row.get("hash_ids", [])
    if not isinstance(hashes, list):
        raise ValueError(f"hash_ids: {hashes!r} is not a list")
    return TraceRequest(
        arrival_s=number_in(row, "timestamp", float) / 1000.0,
        prompt_tokens=number_in(row, "input_length", int),
        output_tokens=number_in(row, "output_length", int),
        # The first block of 512 tokens identifies requests with a common prefix.
        prefix_group=str(hashes[0]) if hashes else "",
    )
