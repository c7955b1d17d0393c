"""Implements `andante runbook`: prints the runbook of an alert, without a network."""

from __future__ import annotations

from typing import Annotated

import typer

from andante.cli.errors import InputError
from andante.runbooks import NoRunbookError, headline, names, page


def runbook(
    alert: Annotated[str | None, typer.Argument(help="Name of the alert; all are listed when left out.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Put this in the commands: the alert's label `namespace`.")
    ] = None,
    llmservice: Annotated[str | None, typer.Option(help="The same of the label `llmservice`.")] = None,
    pod: Annotated[str | None, typer.Option(help="The same of the label `pod`.")] = None,
) -> None:
    """Print what an alert means, what readers feel, and what to do; no network is needed.

    Exit status: 0 good, 2 for a name that no alert has.
    """
    if alert is None:
        for name in names():
            typer.echo(f"{name}\n    {headline(name)}")
        return
    given = {"NAMESPACE": namespace, "LLMSERVICE": llmservice, "POD": pod}
    try:
        typer.echo(page(alert, filled_in={name: value for name, value in given.items() if value is not None}), nl=False)
    except (NoRunbookError, ValueError) as error:
        raise InputError(str(error)) from error
