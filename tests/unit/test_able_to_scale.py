"""What limits the replicas, by the mode of scaling: the condition AbleToScale, from a tick of the scaler."""

from __future__ import annotations

import dataclasses

import pytest

from andante.api.v1alpha1 import LLMService, LLMServiceStatus
from andante.app.scaling.measurement import Measurement, nothing_measured
from andante.domain.scaling.figures import Observed
from unit.status_after_tick import NOW, status_after_tick


def _measured(*, pods: int) -> Measurement:
    none = Observed(value=0.0, at=NOW)
    return dataclasses.replace(
        nothing_measured("not read"), pods_measured=pods, deficit=none, load_deficit=none, open_requests=none
    )


def _status(mode: str, *, replicas: int, most: int, manager: str | None = None) -> LLMServiceStatus:
    """Of a healthy service with so many replicas, after a tick."""
    scaling = {"mode": mode, "minReplicas": 1, "maxReplicas": most}
    spec = {"model": {"id": "m"}, "scaling": scaling, **({"replicas": replicas} if mode != "Auto" else {})}
    service = LLMService.parse({"metadata": {"name": "chat", "namespace": "n", "generation": 1}, "spec": spec})
    managed = [{"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}] if manager else []
    return status_after_tick(
        service, _measured(pods=replicas), pods=replicas, replicas=replicas, desired=replicas, managed=managed
    )


def _able(status: LLMServiceStatus) -> tuple[str, str]:
    condition = status.condition("AbleToScale")
    assert condition
    return condition.status, condition.reason


@pytest.mark.parametrize("mode", ["Manual", "Advisory"])
def test_a_fixed_number_above_the_maximum_is_no_problem(mode: str) -> None:
    status = _status(mode, replicas=3, most=1)
    assert _able(status) == ("True", "Free")
    assert status.summary
    assert status.summary.problem is None


def test_the_maximum_limits_what_the_scaler_wants() -> None:
    assert _able(_status("Auto", replicas=3, most=1)) == ("False", "MaxReplicas")


def test_another_tool_that_sets_the_replicas_limits_the_scaler_also_where_both_want_the_same() -> None:
    assert _able(_status("Auto", replicas=2, most=4, manager="kubectl")) == ("False", "ForeignOwner")
