"""The recording rules that every service's alerts share: once for each Prometheus, for all services. Pure.

Engines count the requests that ended, all but batch (`andante_requests_scored_total`) and the good ones. Bad requests
are known of an engine that shows both counters: an older one that shows the good alone must not hide another's bad
ones. The hour is counted from these raw counters, exactly. Longer windows add up what was recorded, one series a class
instead of one for each pod that ever lived: a thousand services stay far below Prometheus' limit of samples a query.
"""

from __future__ import annotations

from typing import Any, Final

from andante.domain import metric_names
from andante.domain.slo.promql import BY_CLASS, BY_SERVICE, once

Group = dict[str, Any]
"""A rule group as Prometheus' rule files and PrometheusRules hold it: name, interval, rules."""

CLASS_REQUESTS_RATE: Final = "llmservice_class:andante_slo_requests:rate5m"
CLASS_BAD_RATE: Final = "llmservice_class:andante_slo_bad:rate5m"
CLASS_REQUESTS_5M: Final = "llmservice_class:andante_slo_requests:count5m"
CLASS_BAD_5M: Final = "llmservice_class:andante_slo_bad:count5m"
REQUESTS_5M: Final = "llmservice:andante_slo_requests:count5m"
REQUESTS_1H: Final = "llmservice:andante_slo_requests:count1h"
REQUESTS_28D: Final = "llmservice:andante_slo_requests:count28d"
BAD_1H: Final = "llmservice:andante_slo_bad:count1h"
BAD_6H: Final = "llmservice:andante_slo_bad:count6h"
BAD_3D: Final = "llmservice:andante_slo_bad:count3d"
RATIO_5M: Final = "llmservice:andante_slo_bad:ratio5m"
RATIO_30M: Final = "llmservice:andante_slo_bad:ratio30m"
RATIO_1H: Final = "llmservice:andante_slo_bad:ratio1h"
RATIO_6H: Final = "llmservice:andante_slo_bad:ratio6h"
RATIO_3D: Final = "llmservice:andante_slo_bad:ratio3d"

RECORDED_DAYS: Final = 28
"""Days of traffic that a promise's budget is reckoned from, or as many of them as Prometheus keeps."""


def recording_groups() -> tuple[Group, ...]:
    """Two groups: what pages, each minute, and the slow sums, each five minutes."""
    every = '{llmservice!=""}'
    requests, good = f"{metric_names.SCORED_REQUESTS}{every}", f"{metric_names.GOOD_REQUESTS}{every}"
    fast = {
        CLASS_REQUESTS_RATE: f"sum {BY_CLASS} ({once(f'rate({requests}[5m])')})",
        CLASS_BAD_RATE: f"clamp_min(sum {BY_CLASS} ({once(f'rate({requests}[5m]) - rate({good}[5m])')}), 0)",
        REQUESTS_1H: f"sum {BY_SERVICE} ({once(f'increase({requests}[1h])')})",
        BAD_1H: f"clamp_min(sum {BY_SERVICE} ({once(f'increase({requests}[1h]) - increase({good}[1h])')}), 0)",
        RATIO_1H: f"{BAD_1H} / ({REQUESTS_1H} > 0)",
        RATIO_5M: ratio_with_open(
            bad=f"300 * sum {BY_SERVICE} ({CLASS_BAD_RATE})",
            requests=f"300 * sum {BY_SERVICE} ({CLASS_REQUESTS_RATE})",
            matching=every,
        ),
        RATIO_30M: f"sum {BY_SERVICE} (sum_over_time({CLASS_BAD_RATE}[30m]))"
        f" / (sum {BY_SERVICE} (sum_over_time({CLASS_REQUESTS_RATE}[30m])) > 0)",
        BAD_6H: f"60 * sum {BY_SERVICE} (sum_over_time({CLASS_BAD_RATE}[6h]))",
        RATIO_6H: f"{BAD_6H} / (60 * sum {BY_SERVICE} (sum_over_time({CLASS_REQUESTS_RATE}[6h])) > 0)",
    }
    slow = {
        # Not the counters' own increase: Prometheus 3 leaves out what was counted just after a window began, and these
        # windows do not overlap. An average, as Prometheus 2 may find one sample more in them.
        CLASS_REQUESTS_5M: f"300 * avg_over_time({CLASS_REQUESTS_RATE}[5m])",
        CLASS_BAD_5M: f"300 * avg_over_time({CLASS_BAD_RATE}[5m])",
        # Not of the records above: vmalert's rules see what others of their group recorded a round before, five minutes
        # ago, which is too old for the present.
        REQUESTS_5M: f"sum {BY_SERVICE} (300 * avg_over_time({CLASS_REQUESTS_RATE}[5m]))",
        REQUESTS_28D: f"sum_over_time({REQUESTS_5M}[{RECORDED_DAYS}d])",
        BAD_3D: f"sum {BY_SERVICE} (sum_over_time({CLASS_BAD_5M}[3d]))",
        RATIO_3D: f"{newest(BAD_3D)} / (sum_over_time({REQUESTS_5M}[3d]) > 0)",
    }
    return tuple(
        {
            "name": name,
            "interval": interval,
            "rules": [{"record": record, "expr": expression} for record, expression in rules.items()],
        }
        for name, interval, rules in (("andante.slo", "1m", fast), ("andante.slo.slow", "5m", slow))
    )


def newest(recorded: str) -> str:
    """What is recorded each five minutes, also where a round is late: five minutes is as long as a sample stands for
    the present."""
    return f"last_over_time({recorded}[15m])"


def ratio_with_open(*, bad: str, requests: str, matching: str) -> str:
    """Share of bad requests, those among them that are open now and would be bad if they ended now.

    A store without that gauge still gives the share of those that ended.
    """
    now = once(f"{metric_names.OPEN_BAD_REQUESTS}{matching}")
    open_bad = f"(sum {BY_SERVICE} ({now}) or 0 * {requests})"
    return f"({bad} + {open_bad}) / (({requests} + {open_bad}) > 0)"
