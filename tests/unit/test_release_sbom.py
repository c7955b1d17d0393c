"""The bill of materials of a release: what the lock file says, in a form that other tools read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hack.localcluster.settings import REPOSITORY
from hack.release.dry_run import sbom

LOCK = REPOSITORY / "operator" / "requirements.lock"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("sbom") / "sbom.json"
    sbom(to, REPOSITORY, 1_700_000_000)
    return to


def test_it_meets_its_schema(written: Path) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written.read_text()) is None


def test_it_names_every_locked_package_and_no_other(written: Path) -> None:
    document = json.loads(written.read_text())
    locked = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", LOCK.read_text(), re.MULTILINE)
    assert sorted((c["name"], c["version"]) for c in document["components"]) == sorted(locked)
    assert document["metadata"]["component"]["name"] == "andante"


def test_the_same_lock_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    sbom(tmp_path / "again.json", REPOSITORY, 1_700_000_000)
    assert (tmp_path / "again.json").read_bytes() == written.read_bytes()
