"""The example for a Prometheus without its operator: valid, and scraped as by the PodMonitor that Andante makes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from hack.docs.markdown import ROOT
from hack.generate import GOLDEN_CHILDREN

from debian_programs import program

EXAMPLE = ROOT / "examples" / "monitoring" / "prometheus.yaml"


def test_promtool_finds_the_configuration_valid(tmp_path: Path) -> None:
    """Debian builds Prometheus without the discovery of pods, so that targets stand in for it."""
    config = yaml.safe_load(EXAMPLE.read_text())
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        job["static_configs"] = [{"targets": ["127.0.0.1:8000"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    promtool = program("prometheus", name="promtool")
    done = subprocess.run(
        [promtool.path, "check", "config", tmp_path / "prometheus.yml"],
        env=promtool.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_engines_get_the_labels_that_the_pod_monitor_gives_them() -> None:
    children = yaml.safe_load_all((GOLDEN_CHILDREN / "llmservice.yaml").read_text())
    (monitor,) = (child for child in children if child["kind"] == "PodMonitor")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    job = next(j for j in yaml.safe_load(EXAMPLE.read_text())["scrape_configs"] if j["job_name"] == "andante-engines")
    assert job["relabel_configs"][2:] == [_of_prometheus(rule) for rule in endpoint["relabelings"]]


def _of_prometheus(rule: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name): value for name, value in rule.items()}
