"""The parts that all dashboards share: variables, annotations, and a panel with title, description and unit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

SERVICE: Final = 'namespace=~"$namespace", llmservice=~"$llmservice"'
"""Matchers of the chosen services."""
BY_SERVICE: Final = "namespace, llmservice"
DATASOURCE: Final = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
_DECISIONS: Final = f"andante_scaling_decisions_total{{{SERVICE}}}"

# Units of Grafana.
SHARE, COUNT, SECONDS, BYTES = "percentunit", "short", "s", "bytes"
PER_SECOND, TOKENS_PER_SECOND = "reqps", "tokens/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard: its fixed uid is its file's name, and part of its address in Grafana."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    of_services: bool = True
    """Whether it is about chosen services; else about the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A question, and the panels that answer it."""

    title: str
    panels: Sequence[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """Something that happened, as a mark on every panel."""

    name: str
    title: str
    color: str
    expr: str


_MARKS: Final = (
    _Mark(
        name="Scaling decisions",
        title="{{reason}}",
        color="purple",
        # A reason that was not counted a minute ago, and is now.
        expr=f"{_DECISIONS} > ({_DECISIONS} offset 1m or {_DECISIONS} * 0)",
    ),
    _Mark(
        name="Alerts",
        title="{{alertname}}",
        color="red",
        expr=f'ALERTS{{{SERVICE}, alertname=~"Andante.+", alertstate="firing"}}',
    ),
)


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    span: int = 12,
    stacked: bool = False,
    highest: float | None = None,
) -> Any:
    """A panel of lines over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(span)
        .height(8)
        .fill_opacity(20 if stacked else 0)
        .show_points(common_models.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.TABLE)
            .placement(common_models.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if highest is not None:
        panel = panel.axis_soft_max(highest)
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        panel = panel.with_target(_target(letter, query))
    return panel


def number(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    steps: Sequence[tuple[float | None, str]] = ((None, "text"),),
    span: int = 6,
    legend: str = "",
) -> Any:
    """A panel with the present number. `steps`: from which value on it has which colour."""
    thresholds = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(span)
        .height(5)
        .no_value("not known")
        .thresholds(thresholds.steps([models.Threshold(value=value, color=color) for value, color in steps]))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .with_target(_target("A", Query(expr=expr, legend=legend)).instant())
    )


def listing(title: str, description: str, unit: str, *queries: Query, hide: Sequence[str] = (), span: int = 24) -> Any:
    """A table of the present samples; several queries become columns of one line a service, named by their legends."""
    panel = table.Panel().title(title).description(description).datasource(DATASOURCE).unit(unit).span(span).height(9)
    names, hidden = {}, {"Time": True, **dict.fromkeys(hide, True)}
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        target = _target(letter, query).instant().format(prometheus_models.PromQueryFormat.TABLE)
        panel = panel.with_target(target)
        names[f"Value #{letter}" if len(queries) > 1 else "Value"] = query.legend
    if len(queries) > 1:
        panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    return panel.with_transformation(
        models.DataTransformerConfig(id_val="organize", options={"excludeByName": hidden, "renameByName": names})
    )


def quantile(share: float, name: str, *, by: str = "", matchers: str = "") -> str:
    """A quantile of a histogram by the labels `by`, whether Prometheus keeps its buckets as series or as one native
    histogram."""
    buckets, native = (f"rate({series}{matchers}[$__rate_interval])" for series in (f"{name}_bucket", name))
    of_buckets, of_native = f"sum by ({f'{by}, le' if by else 'le'}) ({buckets})", f"sum by ({by}) ({native})"
    return f"histogram_quantile({share}, {of_buckets}) or histogram_quantile({share}, {of_native})"


def by_service(expr: str) -> str:
    """The sum for each service."""
    return f"sum by ({BY_SERVICE}) ({expr})"


def told(name: str) -> str:
    """The operator's figure of each service: once, also while one operator's pod takes over from another."""
    return f"max by ({BY_SERVICE}) ({name}{{{SERVICE}}})"


def as_json(board: Board) -> str:
    """The dashboard's JSON model, as Grafana imports it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["andante"])
        .editable()
        .timezone("browser")
        .refresh("1m")
        .time("now-6h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    if board.of_services:
        made = made.with_variable(_choice("namespace", "Namespace", ""))
        made = made.with_variable(_choice("llmservice", "LLMService", '{namespace=~"$namespace"}'))
        for mark in _MARKS:
            made = made.annotation(
                dashboard.AnnotationQuery()
                .name(mark.name)
                .datasource(DATASOURCE)
                .enable(True)
                .icon_color(mark.color)
                .expr(mark.expr)
            )
    for row in board.rows:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(panel)
    model: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    titles = {mark.name: mark.title for mark in _MARKS}
    for annotation in model.get("annotations", {}).get("list", ()):  # fields that the builders lack
        title = titles[annotation["name"]]
        annotation |= {"titleFormat": title, "textFormat": "{{namespace}}/{{llmservice}}", "step": "60s"}
    for place, panel in enumerate(model["panels"], 1):  # a link to a panel names its id: it must last
        panel["id"] = place
    for variable in model["templating"]["list"]:
        del variable["id"]  # the builders give all of them the same
    return json.dumps(model, indent=1, ensure_ascii=False) + "\n"


def _choice(name: str, label: str, matchers: str) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(f"label_values(andante_service_ready_replicas{matchers}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _target(letter: str, query: Query) -> Any:
    return (
        prometheus.Dataquery()
        .ref_id(letter)
        .datasource(DATASOURCE)
        .expr(query.expr)
        .legend_format(query.legend or "__auto")
        .editor_mode(prometheus_models.QueryEditorMode.CODE)
    )
