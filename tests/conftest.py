"""Configures every suite: with CI=true a skipped test fails the run, as a green CI must mean that every test ran."""

from __future__ import annotations

import os

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "default", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("default")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") != "true" or reporter is None or exitstatus != 0:
        return
    if reporter.stats.get("skipped"):
        reporter.write_line("CI=true: a test was skipped, see the summary above; the run fails", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
