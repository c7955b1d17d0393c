"""The demo's report: one file that needs no network and says what happened on both sides."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hack.demo.outcome import Demo
from hack.demo.report import saved_replica_minutes, write_report

from andante.cli.bench import Ending
from unit.demo_sides import FIRST, LATE, READER, SECOND, demo, result, side

RIVAL = side("stock vLLM + HPA", [result(0), result(60, LATE)])
HOSTILE = "</script><script>alert(1)</script><!-- & \u2028"


def _written(demo: Demo, folder: Path) -> str:
    write_report(folder / "report.html", demo, reader=READER, prompt_tokens=[100] * 100)
    return (folder / "report.html").read_text(encoding="utf-8")


def _replay(page: str) -> Any:
    (found,) = re.findall(r'<script type="application/json" id="replay-data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


class _Elements(HTMLParser):
    """The open elements at each moment; raises where one is closed that is not open."""

    VOID = frozenset({"meta", "input", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


def _parsed(page: str) -> _Elements:
    """Without what is in scripts, which a browser does not read as elements either."""
    elements = _Elements()
    elements.feed(re.sub(r"(<script[^>]*>).*?(</script>)", r"\1\2", page, flags=re.DOTALL))
    return elements


@pytest.mark.parametrize("rival", [None, RIVAL], ids=["alone", "with a rival"])
def test_it_is_whole_html_with_unique_ids(tmp_path: Path, rival: Any) -> None:
    elements = _parsed(_written(demo(rival=rival), tmp_path))
    assert elements.open == []
    assert len(elements.ids) == len(set(elements.ids))


@pytest.mark.parametrize("rival", [None, RIVAL], ids=["alone", "with a rival"])
def test_it_loads_nothing_from_elsewhere(tmp_path: Path, rival: Any) -> None:
    page = re.sub(r"<script.*?>.*?</script>", "", _written(demo(rival=rival), tmp_path), flags=re.DOTALL)
    assert not re.search(r"(src|href)=|@import|url\(", page)


def test_every_element_that_the_replay_asks_for_is_there(tmp_path: Path) -> None:
    page = _written(demo(rival=RIVAL), tmp_path)
    asked = [*re.findall(r'getElementById\("([a-z-]+)"\)', page), "replay-request", "replay-other"]
    assert set(asked) <= set(_parsed(page).ids)


def test_each_change_of_replicas_has_its_reason(tmp_path: Path) -> None:
    page = _written(demo(), tmp_path)
    assert "1 → 2" in page
    assert "2 → 1" in page
    assert "deficit &lt; 1 &amp; QoEDeficit" in page


def test_it_says_first_whether_the_demo_showed_what_it_promises(tmp_path: Path) -> None:
    assert "rose from 1 to 2 with the surge and fell back to 1" in _written(demo(), tmp_path)
    failed = demo(complaints=["3 streams were cut."])
    assert "<p class='verdict bad'>3 streams were cut.</p>" in _written(failed, tmp_path)


def test_both_sides_stand_beside_each_other(tmp_path: Path) -> None:
    page = _written(demo(rival=RIVAL), tmp_path)
    assert "<th>Andante</th><th>stock vLLM + HPA</th><th>better</th>" in page
    assert "Andante won: it served its readers better" in page
    assert page.count("the replicas that were bought</h3>") == 2


def test_why_there_is_no_rival_is_said(tmp_path: Path) -> None:
    page = _written(demo(no_rival="No rival plays: there is <another> adapter."), tmp_path)
    assert "No rival plays: there is &lt;another&gt; adapter." in page
    assert "<th>better</th>" not in page


def test_a_replica_that_was_bought_too_late_is_named(tmp_path: Path) -> None:
    late = side("stock vLLM + HPA", [result(0)], pods=[FIRST, replace(SECOND, ready=170.0)])
    page = _written(demo(rival=late), tmp_path)
    assert "bought too late to serve: it became ready 20 s after the surge had ended" in page


def test_the_replay_has_every_token_at_its_time(tmp_path: Path) -> None:
    replay = _replay(_written(demo(rival=RIVAL), tmp_path))
    assert (replay["sides"], replay["pace"], replay["expectedTTFT"]) == (["Andante", "stock vLLM + HPA"], 4.8, 1.0)
    assert [request["n"] for request in replay["requests"]] == [0, 60]
    times = [list(accumulate(map(int, text.split()))) for text in replay["requests"][1]["t"]]
    assert times[0] == pytest.approx([1000 * r for r in result(60).delivery], abs=0.51)
    assert times[1] == pytest.approx([1000 * at for at in LATE], abs=0.51)


def test_the_replay_pairs_requests_by_their_numbers(tmp_path: Path) -> None:
    """A request that one side lacks cannot be set beside another."""
    other = side("stock vLLM + HPA", [result(60, LATE), result(7)])
    replay = _replay(_written(demo(rival=other), tmp_path))
    assert [request["n"] for request in replay["requests"]] == [60]


def test_a_servers_words_cannot_become_markup(tmp_path: Path) -> None:
    cut = result(60, (1.0, 1.5), ending=Ending.CUT, error=HOSTILE)
    page = _written(demo(rival=side("stock vLLM + HPA", [result(0), cut]), no_rival=HOSTILE), tmp_path)
    assert "alert(1)</script>" not in page
    assert _replay(page)["requests"][1]["e"] == [None, HOSTILE]
    assert _parsed(page).open == []


def test_replica_minutes_are_compared_with_a_fixed_number_of_replicas() -> None:
    assert saved_replica_minutes([FIRST, SECOND], until=300.0) == (5.0 + 3.0, 10.0)
    assert saved_replica_minutes([], until=0.0) == (0.0, 0.0)
