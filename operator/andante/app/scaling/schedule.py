"""Makes times out of the scheduled floors of a resource: cron lines in time zones become starts and ends.

`judge` calls this at each tick, with the time passed in; the law sees times only. `app.status.without_effect` asks
which lines are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from andante.api.v1alpha1.scaling import ScheduledFloor
from andante.domain.scaling.floors import Floor

_HOUR: Final = 3600
_SHIFT: Final = 3 * _HOUR
"""More than any change of the clocks: an iteration that begins this much later misses no start because of one."""
_KEPT: Final = 8192
"""Lines and hours that are remembered: a thousand services with several floors each."""


def floors(schedule: Iterable[ScheduledFloor], *, now: float, ahead: float) -> tuple[Floor, ...]:
    """The floors that hold at `now` (Unix time), or begin within `ahead` seconds. A floor that is no cron line, or has
    no time zone, is left out.

    Where a floor starts anew before it has ended, its newest start counts.
    """
    found = []
    for floor in schedule:
        if problem(floor.start, floor.time_zone) is not None:
            continue
        starts = {_last_start(floor.start, floor.time_zone, moment) for moment in (now, now + ahead)}
        found += [
            Floor(name=floor.name, start=start, end=start + floor.duration, replicas=floor.min_replicas)
            for start in sorted(start for start in starts if start is not None)
            if start + floor.duration > now
        ]
    return tuple(found)


@lru_cache(maxsize=_KEPT)
def problem(line: str, zone: str) -> tuple[str, str] | None:
    """(field of the floor, why it can have no effect); None: it can."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones, such as Europe
        return "timeZone", f"there is no time zone {zone!r}"
    try:
        CronSim(line, datetime.fromtimestamp(0, tz=UTC))
    except CronSimError as error:
        return "start", f"{line!r} is no cron line, or a time that never comes: {str(error).lower()}"
    return None


def _last_start(line: str, zone: str, moment: float) -> float | None:
    """The newest start at or before `moment` (Unix time); None: there was none in 50 years."""
    starts = _starts(line, zone, math.floor(moment / _HOUR))
    return next((start for start in starts if start <= moment), None)


@lru_cache(maxsize=_KEPT)
def _starts(line: str, zone: str, hour: int) -> tuple[float, ...]:
    """The starts within one hour (counted from 1970) and the newest one before it, newest first: a line is evaluated
    once an hour. What the clocks skip starts when they have been changed; what they repeat starts the first time, or
    both times where the line has a star for its minute or hour (as cron on Debian does)."""
    begin, end = hour * _HOUR, (hour + 1) * _HOUR
    found = []
    for moment in CronSim(line, datetime.fromtimestamp(end + _SHIFT, tz=ZoneInfo(zone)), reverse=True):
        start = moment.timestamp()
        if start < end:
            found.append(start)
        if start < begin:
            break
    return tuple(found)
