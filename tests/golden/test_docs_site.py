"""The documentation builds as a site, with links and anchors checked, and needs no other host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hack.docs.markdown import ROOT

# Tags by which a browser fetches something on its own.
FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\"'> ]+")


def _build(folder: Path, docs: Path | None = None) -> subprocess.CompletedProcess[str]:
    config = ROOT / "mkdocs.yml"
    if docs is not None:
        config = folder / "mkdocs.yml"
        text = (ROOT / "mkdocs.yml").read_text()
        text = text.replace("docs_dir: docs", f"docs_dir: {docs}").replace(
            "[hack/docs/site.py]", f"[{ROOT}/hack/docs/site.py]"
        )
        config.write_text(text)
    # A proxy that refuses: a build that fetches something fails.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    return subprocess.run(
        [*command, "--site-dir", str(folder / "site")],
        cwd=ROOT,
        env={**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    done = _build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_site_builds_strictly(site: Path) -> None:
    assert (site / "index.html").exists()
    assert (site / "search" / "search_index.json").exists()


def test_nothing_is_fetched_from_another_host(site: Path) -> None:
    found = {f"{page.name}: {tag}" for page in site.rglob("*.html") for tag in FETCHED.findall(page.read_text())}
    assert sorted(found) == []
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    assert re.findall(r"@import[^;]+|url\([\"']?(?:https?:)?//[^)]+", styles) == []


def test_an_example_that_a_page_links_to_is_in_the_site(site: Path) -> None:
    assert (site / "source" / "examples" / "chat-one-gpu.yaml").exists()


def test_wrong_links_fail_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    with (tmp_path / "docs" / "index.md").open("a") as page:
        page.write("\n[a](how-to/instal.md) [b](how-to/install.md#nowhere) [c](../examples/nothing.yaml)\n")
    done = _build(tmp_path, tmp_path / "docs")
    assert done.returncode != 0
    assert [said for said in ("how-to/instal.md", "#nowhere", "nothing.yaml") if said not in done.stderr] == []


def test_no_list_and_no_table_is_left_as_text(site: Path) -> None:
    """A forge takes a list or a table without an empty line before it; the site does not."""
    left = re.compile(r"<p>[^<]*\n(?:\* |- |1\. |\|)|\|---\|")
    assert sorted(page.name for page in site.rglob("*.html") if left.search(page.read_text())) == []
