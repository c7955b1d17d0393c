"""Names the fields of a service that are set and change nothing, each with what to do instead. Pure."""

from __future__ import annotations

from andante.api.v1alpha1 import LLMService
from andante.api.v1alpha1.scaling import Scaling, ScheduledFloor
from andante.app.scaling.schedule import problem

_INSTEAD = {
    "start": "write minute hour day-of-month month day-of-week, such as '0 8 * * 1-5'",
    "timeZone": "take a name of the IANA time zone database, such as Europe/Berlin or UTC",
}


def without_effect(service: LLMService) -> list[str]:
    """A sentence for each field that is set and changes nothing."""
    spec, scaling = service.spec, service.spec.scaling
    found = []
    if spec.replicas is not None and scaling.mode == "Auto":
        found.append(
            f"spec.replicas is {spec.replicas} and has no effect, as scaling.mode is Auto: the scaler chooses from"
            f" {scaling.min_replicas} to {scaling.resolved_max_replicas} replicas. What to do: set scaling.minReplicas"
            " or maxReplicas; or set scaling.mode to Manual, and spec.replicas counts"
        )
    found += [text for floor in scaling.schedule if (text := _floor(floor, scaling))]
    return found


def _floor(floor: ScheduledFloor, scaling: Scaling) -> str | None:
    """Why a scheduled floor changes nothing; None: it has an effect."""
    name, asked, most = f"scaling.schedule[{floor.name}]", floor.min_replicas, scaling.resolved_max_replicas
    found = problem(floor.start, floor.time_zone)
    if found is not None:
        field, why = found
        return f"{name}.{field}: {why}, so this floor has no effect. What to do: {_INSTEAD[field]}"
    if asked <= scaling.min_replicas:
        return (
            f"{name}.minReplicas is {asked} and has no effect, as scaling.minReplicas is {scaling.min_replicas}."
            " What to do: raise the floor, or lower scaling.minReplicas"
        )
    if most <= scaling.min_replicas:
        set_to = f"{most} by default" if scaling.max_replicas is None else f"{most}"
        return (
            f"{name}.minReplicas is {asked} and has no effect, as scaling.maxReplicas is {set_to}. What to do: set"
            f" scaling.maxReplicas to {asked} or more"
        )
    return None
