"""Clusters, images and engines start all the time here, so tests of other folders compare no times meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e.machine_load import busy


@pytest.fixture(scope="session", autouse=True)
def machine_load() -> Iterator[None]:
    with busy():
        yield
