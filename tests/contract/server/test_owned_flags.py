"""Which flags of `vllm serve` a resource may not give, by vLLM's own parser: under no name that the parser knows."""

from __future__ import annotations

import argparse

import pytest
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

from andante.engine_config import OWNED_FLAGS, check_extra_arg


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    return make_arg_parser(FlexibleArgumentParser())


def _refused(flag: str) -> bool:
    try:
        check_extra_arg(flag)
    except ValueError:
        return True
    return False


def _meant(parser: argparse.ArgumentParser, flag: str) -> set[str]:
    """All names of the option that the parser takes `flag` for; none where it takes it for no option, or several."""
    found = parser._option_string_actions.get(flag)
    if found is None:
        candidates = {id(match[0]): match[0] for match in parser._get_option_tuples(flag)}
        found = next(iter(candidates.values())) if len(candidates) == 1 else None
    return set() if found is None else set(found.option_strings)


def test_every_flag_that_is_refused_is_one_of_vllm(parser: argparse.ArgumentParser) -> None:
    assert {flag for flag in OWNED_FLAGS if not _meant(parser, flag)} <= {"--disable-log-stats"}


def test_no_alias_and_no_abbreviation_gets_an_owned_flag_through(parser: argparse.ArgumentParser) -> None:
    passed = []
    for owned in OWNED_FLAGS:
        for name in _meant(parser, owned):
            shortest = 3 if name.startswith("--") else 2
            passed += [
                name[:end]
                for end in range(shortest, len(name) + 1)
                if _meant(parser, name[:end]) & OWNED_FLAGS.keys() and not _refused(name[:end])
            ]
    assert passed == []


@pytest.mark.parametrize("flag", ["-asc", "-asc=4", "-as", "--api", "--m=x", "--api_server_count", "-n2", "-r", "-tp"])
def test_short_forms_are_refused(flag: str) -> None:
    assert _refused(flag)


def test_a_replica_is_one_engine_so_no_flag_of_data_parallelism_passes(parser: argparse.ArgumentParser) -> None:
    of_it = [
        name
        for action in parser._actions
        if any(option.startswith(("--data-parallel", "--elastic-ep")) for option in action.option_strings)
        for name in action.option_strings
        if not name.startswith("--no-")
    ]
    assert len(of_it) > 15
    assert [name for name in of_it if not _refused(name)] == []


@pytest.mark.parametrize("flag", ["--enable-expert-parallel", "-ep", "--enable-eplb", "--numa-bind", "-dcp=2"])
def test_experts_and_memory_of_one_replica_may_be_laid_out(flag: str) -> None:
    assert not _refused(flag)


def test_all_other_flags_may_be_given(parser: argparse.ArgumentParser) -> None:
    others = [
        name
        for action in parser._actions
        if not set(action.option_strings) & OWNED_FLAGS.keys()
        for name in action.option_strings
    ]
    assert len(others) > 100
    assert [name for name in others if _refused(name)] == []
