"""Is the entry point of `andante` (and of `kubectl andante`): connects sub-commands and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

import andante
from andante.cli.bench_command import bench
from andante.cli.cluster_commands import explain, status
from andante.cli.compare_command import compare
from andante.cli.errors import InputError
from andante.cli.estimate_command import estimate
from andante.cli.plan_command import plan
from andante.cli.profile_command import profile_app
from andante.cli.qoe_command import qoe
from andante.cli.rules_command import rules
from andante.cli.runbook_command import runbook
from andante.cli.simulate_command import simulate
from andante.cli.trace_command import trace_app

app = typer.Typer(
    name="andante",
    help="Measure how well readers are served by streamed answers: their quality of experience (QoE).\n\n"
    "Works with any OpenAI-compatible endpoint. `kubectl andante` is the same command.",
    epilog="Exit status: 0 good, 1 the answer is no (`bench`: no request was answered; `plan`: nothing is enough),"
    " 2 bad input, which is named.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(qoe)
app.command()(bench)
app.command()(status)
app.command()(explain)
app.command()(rules)
app.command()(runbook)
app.command()(simulate)
app.command()(plan)
app.command()(compare)
app.add_typer(trace_app, name="trace")
profile_app.command()(estimate)  # here, as a kept fit depends on all that the module of `fit` imports
app.add_typer(profile_app, name="profile")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"andante {andante.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """The options of `andante` itself; each command has its own --help."""


def main() -> None:
    """Run the command line; a user's mistake ends with status 2 and one sentence, never with a traceback."""
    try:
        app()
    except InputError as error:
        Console(stderr=True, soft_wrap=True).print(f"andante: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
