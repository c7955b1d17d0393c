"""Whose KV the host gives up where requests begin alike."""

from __future__ import annotations

import pytest

from contract.scheduler.host_memory import Prefixes


@pytest.mark.parametrize("announced", [True, False])
def test_a_prefix_stays_while_anybody_shares_it_though_who_stored_it_has_ended(announced: bool) -> None:
    host = Prefixes(5, announced=announced)
    host.come("first", "SSa")
    host.put("first")
    host.come("second", "SSb")
    host.put("second")
    host.end("first")
    host.come("third", "xyz")
    host.put("third", 0, 1)
    host.put("third", 1, 2)
    assert host.found(host.keys["second"]) == 3
    host.put("third", 2, 3)  # and then the second's own, before what both once had
    assert host.found(host.keys["second"]) == 2


@pytest.mark.parametrize("announced", [True, False])
def test_what_others_stored_of_a_request_is_kept_for_it(announced: bool) -> None:
    host = Prefixes(10, announced=announced)
    host.come("first", "SSSa")
    host.put("first")
    host.come("second", "SSSb")
    assert host.policy.kept("second") == (3 if announced else 0)
    host.put("second", 3)  # vLLM does not store again what the host holds
    assert host.policy.kept("second") == 4
    host.end("first")
    assert host.policy.kept("second") == 4


def test_a_request_that_has_not_started_finds_what_the_host_holds_of_its_prompt() -> None:
    host = Prefixes(3)
    host.come("waits", "ab")
    assert host.policy.kept("waits") == 0
    host.come("runs", "abc")
    host.put("runs")
    assert host.policy.kept("waits") == 2
    assert "waits" in host.policy.take_changed()
    host.end("runs")
    host.come("other", "x")
    host.put("other")
    assert host.policy.kept("waits") == 2  # what nobody needs went


def test_what_comes_behind_a_gap_is_found_once_somebody_has_closed_it() -> None:
    host = Prefixes(4)
    host.come("a", "pqr")
    host.put("a", 0, 1)
    host.put("a", 2)
    assert host.policy.kept("a") == 1
    host.come("b", "pq")
    host.put("b")
    assert host.policy.kept("a") == 3


def test_a_store_that_fails_ends_the_runs_that_it_was_part_of() -> None:
    host = Prefixes(4)
    host.come("a", "pqr")
    host.put("a", arrives=False)
    host.come("b", "pqs")
    assert (host.policy.kept("a"), host.policy.kept("b")) == (3, 2)
    host.manager.complete_store(host.keys["a"][1:2], host.context("a"), success=False)
    assert (host.policy.kept("a"), host.policy.kept("b")) == (1, 1)
    host.manager.complete_store([host.keys["a"][0], host.keys["a"][2]], host.context("a"))
    host.put("b", 1, 2)
    assert (host.policy.kept("a"), host.policy.kept("b")) == (3, 2)


def test_where_the_ends_of_prefixes_may_not_go_what_lies_before_them_does() -> None:
    host = Prefixes(6)
    host.come("a", "pqrst")
    host.put("a", 0, 4)
    host.put("a", 4, arrives=False)
    host.come("b", "xyz")
    assert host.put("b") == [host.keys["a"][3], host.keys["a"][2]]
    assert (host.policy.kept("a"), host.policy.kept("b")) == (2, 3)


def test_an_emptied_cache_forgets_whom_it_is_told_to_forget() -> None:
    host = Prefixes(4)
    host.come("a", "pqr")
    host.put("a")
    host.manager.reset_cache()
    assert host.policy.kept("a") == 0
    host.end("a")  # vLLM says nothing of it: it has stored nothing since
    host.come("b", "pqr")
    host.put("b")
    host.end("b")
    assert host.policy._chunks.unneeded.keys() == host.policy._chunks.held.keys()
