"""Every reason that the operator can give is documented, and has an entry in the troubleshooting page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CODE = ROOT / "operator" / "andante"
REASON = re.compile(r"[A-Z][A-Za-z]+")


def _documented() -> set[str]:
    """Backticked words in the cells of conditions.md that hold reasons."""
    found: set[str] = set()
    for line in (DOCS / "reference" / "conditions.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) in (4, 5):
            column = cells[2] if len(cells) == 5 else cells[1]
            if not column.startswith("`"):
                continue  # a heading, or a reference to another table
            found |= {word for word in re.findall(r"`(\w+)`", column) if REASON.fullmatch(word)}
    return found


def _given() -> set[str]:
    """Reasons in the code: `reason="..."`, and the third of a condition's four values."""
    found: set[str] = set()
    for path in (*(CODE / "app").rglob("*.py"), *(CODE / "domain" / "scaling").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "reason":
                candidates: list[ast.expr] = [node.value]
            elif isinstance(node, ast.Tuple) and len(node.elts) == 4:
                candidates = [node.elts[2]]
            else:
                continue
            texts = [c.value for c in candidates if isinstance(c, ast.Constant) and isinstance(c.value, str)]
            found |= {text for text in texts if REASON.fullmatch(text)}
    return found


def test_the_code_gives_only_documented_reasons() -> None:
    given = _given()
    assert len(given) > 25
    assert sorted(given - _documented()) == []


def test_the_tests_that_show_robustness_exist() -> None:
    page = (DOCS / "reference" / "robustness.md").read_text()
    named = set(re.findall(r"(test_\w+\.py)`", page))
    assert len(named) >= 8
    assert sorted(name for name in named if not any((ROOT / "tests").glob(f"*/{name}"))) == []


def test_every_documented_reason_has_an_entry_for_trouble() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    entries = set(re.findall(r"`(\w+)`", "\n".join(line for line in page.splitlines() if line.startswith("### "))))
    well = set(re.findall(r"`(\w+)`", page.split("## All is well")[1]))
    assert len(_documented()) > 40
    assert sorted(_documented() - entries - well) == []
