"""Implements `andante rules`: the alerts of LLMServices without a cluster, and how often they would have fired."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from andante import __version__
from andante.api.v1alpha1 import KIND, LLMService, SpecError
from andante.app.children import PROMETHEUS_RULE
from andante.app.children.prometheus_rule import promise_rules
from andante.app.children.rules_yaml import rules_yaml
from andante.cli.errors import InputError
from andante.cli.prometheus_history import PrometheusHistory
from andante.cli.replay import replay
from andante.domain.slo.rules import Group, generic_groups, rule_file, why_no_alerts

_HEADER = re.compile(r"([A-Za-z0-9-]+): *(.*)")


class Format(StrEnum):
    """What the rules are written as."""

    RULES = "rules"
    PROMETHEUS_RULE = "prometheusrule"


def rules(
    llmservice: Annotated[
        Path | None,
        typer.Argument(help="File with LLMServices; - for standard input. May be left out with --generic."),
    ] = None,
    format_: Annotated[
        Format,
        typer.Option("--format", help="rules: a rule file of Prometheus. prometheusrule: objects for kubectl apply."),
    ] = Format.RULES,
    generic: Annotated[
        bool,
        typer.Option(
            "--generic",
            help="Also what every Prometheus needs once: the recording rules that the alerts of services read, and the"
            " alerts that are the same for all services. The chart brings them.",
        ),
    ] = False,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of LLMServices whose file names none.")
    ] = "default",
    runbook_url: Annotated[
        str,
        typer.Option(
            "--runbook-url",
            help="Address of a runbook, with {alert} and {version} in it. Left out: alerts name the command that prints"
            " the runbook.",
        ),
    ] = "",
    replay_url: Annotated[
        str | None,
        typer.Option(
            "--replay",
            metavar="URL",
            help="Print no rules: ask this Prometheus how often each alert would have fired. Its engines' series need"
            " the labels namespace, llmservice and pod.",
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="With --replay: days back from now.")] = 7,
    header: Annotated[
        list[str] | None, typer.Option(help="With --replay: a header of each query, as 'Name: value'; may be repeated.")
    ] = None,
) -> None:
    """Print the alerts of an LLMService, as the operator would make them; no cluster is needed.

    An alert burns the error budget of spec.qoe.objective. With --replay, see how often it would have woken you.

    Exit status: 0 good, 2 for a file or a Prometheus that cannot be used.
    """
    services = _services(llmservice, namespace)
    if not services and not generic:
        raise InputError("name a file with an LLMService, or give --generic for the rules that are the same for all")
    for service in services:
        why = why_no_alerts(service.spec.qoe.objective.promise, [c.to_domain() for c in service.spec.qoe.classes])
        if why:
            _say(f"{service.namespace}/{service.name} has no alerts: {why}")
    if replay_url is not None:
        if not services:
            raise InputError("--replay needs a file with an LLMService")
        asyncio.run(_replay(services, replay_url, days=days, headers=_headers(header or ())))
        return
    own = [(service.namespace, service.name, promise_rules(service, runbook_url=runbook_url)) for service in services]
    shared = generic_groups(runbook_url=runbook_url.replace("{version}", __version__)) if generic else ()
    if format_ is Format.RULES:
        groups = [*shared, *(group for _, _, of_one in own for group in of_one)]
        typer.echo(rules_yaml(rule_file(groups)), nl=False)
        return
    objects = [_object(space, name, of_one) for space, name, of_one in own if of_one]
    if shared:
        objects.insert(0, _object(namespace, "andante-alerts", shared))
    typer.echo("---\n".join(rules_yaml(each) for each in objects), nl=False)


def _object(namespace: str, name: str, groups: Sequence[Group]) -> dict[str, Any]:
    return {
        "apiVersion": PROMETHEUS_RULE.api_version,
        "kind": PROMETHEUS_RULE.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": rule_file(groups),
    }


def _services(path: Path | None, namespace: str) -> list[LLMService]:
    """The LLMServices of a file; other objects in it are left out."""
    if path is None:
        return []
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        documents = [d for d in yaml.safe_load_all(text) if isinstance(d, dict)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    items = [item for d in documents for item in (d.get("items") or () if d.get("kind") == "List" else (d,))]
    found = []
    for item in (item for item in items if isinstance(item, dict) and item.get("kind") == KIND):
        metadata = item.get("metadata")
        where = {"namespace": namespace} | (metadata if isinstance(metadata, dict) else {})
        try:
            found.append(LLMService.parse({**item, "metadata": where}))
        except SpecError as error:
            raise InputError(f"{path}: {error}") from error
    if not found:
        raise InputError(f"{path}: there is no {KIND} in it")
    return found


def _headers(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        match = _HEADER.fullmatch(text)
        if match is None:
            raise InputError("--header: give it as 'Name: value'")
        found[match[1]] = match[2]
    return found


async def _replay(services: Sequence[LLMService], url: str, *, days: int, headers: dict[str, str]) -> None:
    now = float(int(time.time()))
    async with PrometheusHistory(url, headers=headers) as history:
        for service in services:
            rows = await replay(service, history, now=now, days=days)
            table = Table("alert", "severity", "times", "minutes", "last", title=f"{service.namespace}/{service.name}")
            for row in rows:
                last = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row.fired[-1].start)) if row.fired else "-"
                minutes = sum(episode.end - episode.start for episode in row.fired) / 60
                table.add_row(row.alert, row.severity, str(len(row.fired)), f"{minutes:.0f}", last)
            Console(soft_wrap=True).print(table)
    _say(
        f"What would have fired in the last {days} days (UTC), from the series that Prometheus has kept. The budget"
        " is reckoned from the 28 days before each day, or as much of these as is kept."
    )


def _say(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)
