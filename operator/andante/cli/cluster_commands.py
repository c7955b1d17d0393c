"""Implements `andante explain` and `andante status`: what an operator has told of services, read from the cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from andante.cli import explain_text, status_text
from andante.cli.cluster_reader import ClusterReader, check_name
from andante.cli.errors import InputError
from andante.cli.service_view import operator_view

Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; the context's one when left out.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig; the current one when left out.")]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="File with the clusters and logins; KUBECONFIG or ~/.kube/config when left out.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def explain(
    name: Annotated[str, typer.Argument(help="Name of the LLMService.")],
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    as_json: Json = False,
) -> None:
    """Explain one LLMService: what is asked, served and wrong, the last decisions, and the next command to type.

    It only reads, with your rights. Without the right to list Events, pods or Leases it says so, and shows the rest.

    Exit status: 0 when the service could be read, whatever its state; 2 when not.
    """
    check_name("NAME", name)
    if namespace is not None:
        check_name("--namespace", namespace)
    cluster = ClusterReader(kubeconfig=kubeconfig, context=context)
    seen = cluster.service(namespace or cluster.namespace, name)
    if as_json:
        typer.echo(json.dumps(explain_text.document(seen), indent=2, allow_nan=False))
        return
    for line in explain_text.lines(seen):
        typer.echo(line)


def status(
    namespace: Namespace = None,
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    as_json: Json = False,
) -> None:
    """Show one line for each LLMService, the worst first.

    BUDGET is what is left of the error budget, PROBLEM the worst condition (empty: all is well), AGE the age of the
    figures. `andante explain NAME` says more of one.

    Exit status: 0 when the services could be read, whatever their state; 2 when not.
    """
    if everywhere and namespace is not None:
        raise InputError("give --namespace or --all-namespaces, not both")
    if namespace is not None:
        check_name("--namespace", namespace)
    cluster = ClusterReader(kubeconfig=kubeconfig, context=context)
    where = None if everywhere else namespace or cluster.namespace
    seen = cluster.fleet(where)
    if as_json:
        typer.echo(json.dumps(status_text.document(seen), indent=2, allow_nan=False))
        return
    told = status_text.warning(operator_view(seen.leases, seen.now))
    if told:
        typer.echo(told, err=True)
    if not seen.services:
        typer.echo(f"no LLMService {'in the cluster' if where is None else f'in namespace {where}'}", err=True)
        return
    for line in status_text.lines(seen, with_namespace=where is None):
        typer.echo(line)
