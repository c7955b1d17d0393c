"""Reads recorded runs of real engines: SETUP_DIR with its requests, index.yaml with the settings, kernel times.

A bad line is refused with its number. Measured times are read of requests whose split is `fit`, and of no other.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from andante.cli.errors import InputError
from andante.cli.traces import number_in, read_text

if TYPE_CHECKING:
    from andante.sim.real_runs.fitting import KernelTimes
    from andante.sim.real_runs.recorded import EngineSettings, RecordedRun

INPUTS = ("request_id", "arrival_s", "prompt_tokens", "output_tokens")
TIMES = ("split", "first_token_s", "last_token_s")
KNOWN_FIT = "fit"
_IN_PROSE = re.compile(r"first (\d+) tokens the same in all requests")
"""How index files without `shared_prefix_tokens` say it, in the prose of `prefix`."""
_NORMS_OF_A_LAYER = 2
_BATCHES = 2000
"""Most batches of the attention table; the fit gains nothing from more."""
_ONCE = ("embedding", "final_layernorm")
"""Kernels of the dense table that run once a step; all others run in each layer."""

Positive = Annotated[int, Field(gt=0)]


class Setup(BaseModel):
    """One entry of `setups` in index.yaml. What is not recorded there is null, and vLLM's default is taken."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    model: str = ""
    gpu: str = ""
    tensor_parallel: Positive = 1
    data_parallel: Positive = 1
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    max_model_len: Positive | None = None
    kv_blocks: Annotated[int, Field(gt=1)] | None = None
    block_size: Positive = 16
    async_scheduling: bool | None = None
    reserve_full_isl: bool | None = None
    shared_prefix_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens with which all prompts begin alike; None: not known, or prompts differ in what they share."""
    kernels: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _prefix_in_prose(cls, entry: Any) -> Any:
        if isinstance(entry, dict) and "shared_prefix_tokens" not in entry:
            found = _IN_PROSE.search(str(entry.get("prefix", "")))
            return {**entry, "shared_prefix_tokens": int(found[1]) if found else None}
        return entry

    def settings(self) -> EngineSettings:
        """What the simulator needs. Engines in data parallel count as one engine with the slots of all."""
        from andante.sim.real_runs.recorded import EngineSettings

        return EngineSettings(
            max_seqs=self.data_parallel * (self.max_num_seqs or 256),
            max_step_tokens=self.data_parallel * (self.max_num_batched_tokens or 2048),
            max_model_len=self.max_model_len or 1,
            block_size=self.block_size,
            blocks=None if self.kv_blocks is None else self.data_parallel * (self.kv_blocks - 1),  # one is never used
            steps_in_flight=2 if self.async_scheduling else 1,
            reserve_whole=bool(self.reserve_full_isl),
        )


class _Index(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    setups: Annotated[tuple[Setup, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A set-up with its runs; each run has its own clock."""

    setup: Setup
    settings: EngineSettings
    runs: tuple[RecordedRun, ...]
    kernels: KernelTimes | None


def read_recording(folder: Path, index: Path, *, times: bool) -> Recording:
    """Read SETUP_DIR and its entry in index.yaml; `times`: columns with measured times must be there.

    Raises InputError naming the file, and the line or the field.
    """
    setup = _setup(folder, index)
    file = _file(folder, "requests.csv")
    parse = partial(_requests_row, times=times)
    rows = list(_rows(file, parse, INPUTS + (TIMES if times else ())))
    if not rows:
        raise InputError(f"{file}: holds no request")
    first_line: dict[str, int] = {}
    for number, row in rows:
        if row["request_id"] in first_line:
            raise InputError(
                f"{file}: line {number}: request_id {row['request_id']!r} is that of "
                f"line {first_line[row['request_id']]}"
            )
        first_line[row["request_id"]] = number
    if times and not any(math.isfinite(row["first_token_s"]) for _, row in rows):
        raise InputError(f"{file}: no line has the split {KNOWN_FIT!r}, so there are no times to fit to")
    requests = [row for _, row in rows]
    settings = setup.settings()
    if settings.blocks is not None:
        for number, row in rows:
            if _length(row) > settings.blocks * settings.block_size:
                raise InputError(
                    f"{file}: line {number}: its {_length(row)} tokens do not fit into kv_blocks of {index}"
                    f" for {setup.name}: {settings.blocks} of {settings.block_size} tokens, and one is never used"
                )
    blocks = _prefixes(folder, setup, requests)
    kernels = None
    if times and setup.kernels and not _found(index.parent / setup.kernels, "moe.csv"):
        # How long a step with experts takes depends on which of them its tokens choose; kernel times do not say that.
        kernels = _kernels(index.parent / setup.kernels, settings, longest=max(_length(row) for row in requests))
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in requests:
        runs[row["run"]].append(row)
    return Recording(
        setup=setup, settings=settings, runs=tuple(_run(rows, blocks) for rows in runs.values()), kernels=kernels
    )


def _setup(folder: Path, index: Path) -> Setup:
    if not folder.is_dir():
        raise InputError(f"SETUP_DIR: {folder} is not a directory; name the folder that holds requests.csv.gz")
    text = read_text(index)
    try:
        document: Any = yaml.safe_load(text)
        setups = _Index.model_validate(document).setups
    except yaml.YAMLError as error:
        raise InputError(f"{index}: not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(document)"
        named = ""
        match first["loc"]:
            case ("setups", int(place), *_) if isinstance(document["setups"][place], dict):
                named = f" ({document['setups'][place].get('name')})"
        raise InputError(f"{index}: {where}{named}: {first['msg']}") from error
    name = folder.resolve().name
    for setup in setups:
        if setup.name == name:
            return setup
    known = ", ".join(setup.name for setup in setups)
    raise InputError(f"{index}: no set-up is named {name!r}, as SETUP_DIR is; it has {known}")


def _found(folder: Path, name: str) -> Path | None:
    """The file, gzipped or not; None: it is not there."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _file(folder: Path, name: str) -> Path:
    path = _found(folder, name)
    if path is None:
        raise InputError(f"{folder} has no {name}.gz")
    return path


def _rows(
    file: Path, parse: Callable[[dict[str, Any]], dict[str, Any]], columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each line as (number, what `parse` made of it)."""
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
    try:
        header = [field.strip() for field in next(reader, [])]
        for column in columns:
            if column not in header:
                raise InputError(f"{file}: line 1: the column {column!r} is missing; there are {', '.join(header)}")
        for cells in reader:
            if len(cells) != len(header):
                raise InputError(f"{file}: line {reader.line_num}: {len(cells)} columns, expected {len(header)}")
            yield reader.line_num, parse(dict(zip(header, cells, strict=True)))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{file}: line {reader.line_num}: {error}") from error


def _requests_row(row: dict[str, Any], *, times: bool) -> dict[str, Any]:
    def seconds(field: str) -> float:
        value = float(number_in(row, field, float))
        if not math.isfinite(value):
            raise ValueError(f"{field}: {row[field]!r} is not finite")
        return value

    def maybe(field: str) -> float:
        return seconds(field) if row.get(field) else math.nan

    parsed: dict[str, Any] = {"run": row.get("run", ""), "request_id": row["request_id"]}
    parsed["arrival_s"] = seconds("arrival_s")
    if parsed["arrival_s"] < 0:
        raise ValueError(f"arrival_s: {row['arrival_s']} is before the run's start; times count from the first arrival")
    for field in ("prompt_tokens", "output_tokens"):
        parsed[field] = number_in(row, field, int)
        if parsed[field] < 1:
            raise ValueError(f"{field}: {row[field]} must be at least 1")
    parsed["alike"] = int(maybe("prefix_hit_tokens_est")) if row.get("prefix_hit_tokens_est") else None
    known = row.get("split") == KNOWN_FIT
    for field in ("first_token_s", "last_token_s", "queued_s", "queue_time_s", "prefill_time_s"):
        parsed[field] = maybe(field) if known else math.nan
    if known and times:
        for field in ("first_token_s", "last_token_s"):
            if math.isnan(parsed[field]):
                raise ValueError(f"{field}: is empty; a request of the split {KNOWN_FIT!r} needs it")
        if not parsed["arrival_s"] <= parsed["first_token_s"] <= parsed["last_token_s"]:
            raise ValueError(
                f"arrival_s {row['arrival_s']}, first_token_s {row['first_token_s']} and last_token_s "
                f"{row['last_token_s']} must ascend"
            )
    return parsed


def _length(row: Mapping[str, Any]) -> int:
    return int(row["prompt_tokens"] + row["output_tokens"])


def _run(rows: list[dict[str, Any]], blocks: Mapping[str, Sequence[object]]) -> RecordedRun:
    from andante.sim.real_runs.recorded import RecordedRun

    rows = sorted(rows, key=lambda row: row["arrival_s"])

    def numbers(field: str, kind: type) -> Any:
        return np.array([row[field] for row in rows], dtype=kind)

    arrival, first = numbers("arrival_s", np.float64), numbers("first_token_s", np.float64)
    return RecordedRun(
        name=rows[0]["run"],
        ids=tuple(row["request_id"] for row in rows),
        arrival=arrival,
        prompt=numbers("prompt_tokens", np.int64),
        output=numbers("output_tokens", np.int64),
        blocks=tuple(blocks.get(row["request_id"], ()) for row in rows),
        first=first,
        last=numbers("last_token_s", np.float64),
        queued=numbers("queued_s", np.float64),
        outside=first - numbers("queue_time_s", np.float64) - numbers("prefill_time_s", np.float64) - arrival,
    )


def _prefixes(folder: Path, setup: Setup, rows: Sequence[Mapping[str, Any]]) -> dict[str, Sequence[object]]:
    """Of each request the ids of its prompt's full KV blocks, as far as others may begin with them."""
    listed = _found(folder, "prefix_blocks.jsonl")
    if listed is not None:
        return dict(_block_ids(listed))
    alike = {
        row["request_id"]: row["alike"] if setup.shared_prefix_tokens is None else setup.shared_prefix_tokens
        for row in rows
    }
    return {
        row["request_id"]: range(min(alike[row["request_id"]], row["prompt_tokens"]) // setup.block_size)
        for row in rows
        if alike[row["request_id"]] is not None
    }


def _block_ids(file: Path) -> Iterator[tuple[str, Sequence[object]]]:
    for number, line in enumerate(read_text(file).splitlines(), 1):
        try:
            row = json.loads(line)
            request, ids = row["request_id"], row["hash_ids"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f'{file}: line {number}: expected {{"request_id": "0", "hash_ids": [0, 1]}}, got {line[:60]!r}'
            ) from error
        if not isinstance(ids, list) or not all(isinstance(i, int | str) for i in ids):
            raise InputError(f"{file}: line {number}: hash_ids must be a list of block ids")
        yield str(request), ids


def _kernels(folder: Path, settings: EngineSettings, *, longest: int) -> KernelTimes:
    """Batches of the attention table that the engine could have met, with all kernels' times."""
    from andante.sim.real_runs.fitting import KernelTimes

    attention = _table(
        _file(folder, "attention.csv"), ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    )
    chunk, past, count, context, attention_us = attention.T
    dense = _named(_file(folder, "dense.csv"), "tokens")
    sequence = _named(_file(folder, "per_sequence.csv"), "sequences")
    most = min(settings.max_step_tokens, *(tokens[-1] for tokens, _ in dense.values()))
    sequences = count + (chunk > 0)
    tokens = chunk + count
    met = (
        (tokens > 0)
        & (tokens <= most)
        & (sequences <= min(settings.max_seqs, *(most[-1] for most, _ in sequence.values())))
        & (chunk + past <= 2 * longest)
        & ((count == 0) | (context <= 2 * longest))
    )
    if settings.blocks is not None:
        met &= chunk + past + count * context <= settings.blocks * settings.block_size
    if not met.any():
        raise InputError(f"{folder}: attention.csv has no batch that this engine could meet")
    chunk, past, count, context, attention_us = attention[met].T
    tokens, sequences = tokens[met], sequences[met]

    def at(table: tuple[np.ndarray, np.ndarray], where: np.ndarray) -> np.ndarray:
        values: np.ndarray = np.interp(where, *table)
        return values

    layer, once = attention_us.copy(), np.zeros(tokens.size)
    for name, table in dense.items():
        if name in _ONCE:
            once += at(table, tokens)
        else:
            layer += at(table, tokens) * (_NORMS_OF_A_LAYER if name == "layernorm" else 1)
    for table in sequence.values():
        once += at(table, sequences)
    kept = np.random.default_rng(0).permutation(chunk.size)[:_BATCHES]
    chunk, past, count, context, layer, once = (v[kept] for v in (chunk, past, count, context, layer, once))
    return KernelTimes(
        prefill=chunk, pairs=chunk * past + chunk * (chunk + 1) / 2, decoding=count, context=count * context,
        layer_us=layer, once_us=once,
    )  # fmt: skip


def _table(file: Path, columns: Sequence[str]) -> np.ndarray:
    """Numbers >= 0 of the columns, shape (lines, columns)."""

    def parse(row: dict[str, Any]) -> dict[str, Any]:
        values = {column: float(number_in(row, column, float)) for column in columns}
        for column, value in values.items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{column}: {value} must be a finite number >= 0")
        return values

    rows = [list(row.values()) for _, row in _rows(file, parse, columns)]
    if not rows:
        raise InputError(f"{file}: holds no line")
    return np.array(rows)


def _named(file: Path, by: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each kernel (column `layer`) its times over the column `by`, ascending."""

    def parse(row: dict[str, Any]) -> dict[str, Any]:
        return {"layer": row["layer"], "at": number_in(row, by, float), "us": number_in(row, "time_us", float)}

    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _, row in _rows(file, parse, ("layer", by, "time_us")):
        points[row["layer"]].append((row["at"], row["us"]))
    if not points:
        raise InputError(f"{file}: holds no line")
    curves = {name: np.array(sorted(values)).T for name, values in points.items()}
    return {name: (curve[0], curve[1]) for name, curve in curves.items()}
