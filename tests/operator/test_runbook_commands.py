"""The runbooks' commands about a service, on a real API server: reads answer, and what would change is only tried."""

from __future__ import annotations

from hack.docs import markdown
from hack.docs.shell import Command, commands
from hack.runbooks import PAGES

from operator_pods import wait_pods
from operator_process import Namespace

READS, WRITES = {"get", "describe"}, {"patch", "delete", "scale"}
NOT_HERE = {"podmonitor", "prometheus", "nodes", "node"}
"""Kinds that a control plane without nodes and without the Prometheus Operator lacks."""


def _about_a_service() -> list[tuple[str, Command]]:
    found = []
    for path in sorted(PAGES.glob("*.md")):
        for block in markdown.read(path).blocks:
            for command in commands(block.text) if block.is_shell else ():
                verb, kind = (*command.words[1:3], "")[:2]
                known = verb in READS | WRITES and kind not in NOT_HERE and kind != "--raw"
                if command.program == "kubectl" and known and "andante-system" not in command.words:
                    found.append((path.stem, command))
    return found


COMMANDS = _about_a_service()


def test_every_runbook_about_a_service_has_such_a_command() -> None:
    about_the_operator = {"AndanteOperatorStuck"}
    assert {alert for alert, _ in COMMANDS} == {path.stem for path in PAGES.glob("*.md")} - about_the_operator
    assert {command.words[1] for _, command in COMMANDS} == READS | WRITES


def test_the_commands_are_taken_by_an_api_server(served: Namespace) -> None:
    served.apply()
    (pod,) = wait_pods(served, 1)
    served.wait_condition("Degraded", "False", "AsWanted")
    names = {"NAMESPACE": served.name, "LLMSERVICE": "chat", "POD": pod["metadata"]["name"]}
    for alert, command in COMMANDS:
        words = [_filled_in(word, names) for word in command.words[1:]]
        if words[0] in WRITES:
            words.append("--dry-run=server")
        done = served.plane.kubectl(*words, check=False)
        assert done.returncode == 0, f"{alert}: {' '.join(words)}: {done.stderr}"
        if any(".status.conditions" in word for word in words):
            assert done.stdout.strip(), f"{alert}: {' '.join(words)} says nothing"


def _filled_in(word: str, names: dict[str, str]) -> str:
    for placeholder, name in names.items():
        word = word.replace(placeholder, name)
    return word
