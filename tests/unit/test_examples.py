"""Examples stand on their own: what they name beside themselves is a manifest of the repository, under one name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SERVICES = sorted((ROOT / "examples").glob("*.yaml"))
STORAGE = sorted((ROOT / "examples" / "storage").glob("*.yaml"))
PAGES = sorted((*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"))
TOKEN_SECRET = "huggingface"


def _manifests(kind: str) -> Iterator[dict[str, Any]]:
    for path in STORAGE:
        yield from (document for document in yaml.safe_load_all(path.read_text()) if document["kind"] == kind)


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.stem)
def test_the_claims_of_an_example_have_a_manifest(path: Path) -> None:
    spec = yaml.safe_load(path.read_text())["spec"]
    claims = {
        spec["engine"].get("cache", {}).get("pvc", {}).get("claimName"),
        spec["model"].get("source", {}).get("pvc", {}).get("claimName"),
    } - {None}
    assert claims <= {manifest["metadata"]["name"] for manifest in _manifests("PersistentVolumeClaim")}


@pytest.mark.parametrize("path", [*SERVICES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_token_s_secret_has_one_name(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"tokenSecretRef:\s*\{?\s*name:\s*([\w-]+)", text)
    named += re.findall(r"create secret generic ([\w-]+) --from-(?:file|literal)=token=", text)
    assert set(named) <= {TOKEN_SECRET}


def test_the_loading_job_takes_the_token_that_examples_name_and_fills_a_claim_that_they_read() -> None:
    (job,) = _manifests("Job")
    pod = job["spec"]["template"]["spec"]
    (token,) = (entry for entry in pod["containers"][0]["env"] if entry["name"] == "HF_TOKEN")
    assert token["valueFrom"]["secretKeyRef"] == {"name": TOKEN_SECRET, "key": "token", "optional": True}
    claims = {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "emptyDir" not in volume}
    assert claims <= {manifest["metadata"]["name"] for manifest in _manifests("PersistentVolumeClaim")}


def test_the_loading_job_is_python() -> None:
    (job,) = _manifests("Job")
    interpreter, option, program = job["spec"]["template"]["spec"]["containers"][0]["command"]
    assert (interpreter, option) == ("python3", "-c")
    compile(program, "load-model", "exec")
