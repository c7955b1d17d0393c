"""The checks of the documentation find each kind of mistake, and leave right names alone."""

from __future__ import annotations

import pytest
from hack.docs import blocks, manifests, names, words
from hack.docs.markdown import Page


def _said(text: str, path: str = "docs/how-to/page.md") -> str:
    page = Page(path, text)
    faults = [*names.of_page(page), *blocks.of_page(page), *manifests.of_page(page), *words.of_page(page)]
    return "\n".join(str(fault) for fault in faults)


def _block(*lines: str, language: str = "bash", note: str = "not run: needs a foreign cluster") -> str:
    return "\n".join([f"<!-- {note} -->", f"```{language}", *lines, "```", ""])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Set `spec.engine.gpuPerReplica`.", "spec.engine.gpuPerReplica"),
        ("See `status.scaling.wanted`.", "status.scaling.wanted"),
        ("Raise `scaling.maxReplica`.", "scaling.maxReplica"),
        ("Lower `maxModelLength`.", "maxModelLength"),
        ("The chart's `engine.imagePullPolicy` says when.", "engine.imagePullPolicy"),
        ("`operatorPicture` of the chart names it.", "operatorPicture"),
        ("Add `rollout: {maxSurges: 0}`.", "rollout: {maxSurges: 0}"),
        ("Watch `andante_requests_served_total`.", "andante_requests_served_total"),
        ("Add `--print-comand`.", "--print-comand"),
        ("Set `ANDANTE_CASHE`.", "ANDANTE_CASHE"),
        ("See `docs/how-to/instal.md`.", "docs/how-to/instal.md"),
        ("See `no_such_page.md`.", "no_such_page.md"),
        ("The reason is `ImagePullFailing`.", "ImagePullFailing"),
        ("When `SLOHeld=False`.", "SLOHeld"),
        ("Call `decide_everything`.", "decide_everything"),
        ("Run `make demos`.", "make demos"),
        ('Run `make demo DEMO_ARGS="--sekonds 3"`.', "--sekonds"),
        ("Run `andante qoe --expected-tft 1`.", "--expected-tft"),
        ("Run `kubectl logs deploy/andante-operator`.", "kubectl logs deploy/andante-operator"),
        ("Run `kubectl logs --previous`.", "kubectl logs --previous"),
        ("Use `--set andante-operator.tickSecond=5`.", "andante-operator.tickSecond"),
    ],
)
def test_a_name_that_does_not_exist_is_found(text: str, name: str) -> None:
    assert f"docs/how-to/page.md:1: {name!r}:" in _said(text)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("make golem", "make golem"),
        ("make demo ARGUMENTS=x", "ARGUMENTS=x"),
        ("andante measure", "andante measure"),
        ("printf '1.0\\n' | andante qoe --pase 5", "--pase"),
        ("andante-engine serve --konfig engine.yaml", "--konfig"),
        ("andante-operator --quiet", "--quiet"),
        ("python -m hack.instal", "hack.instal"),
        ("python3 -m hack.localcluster upp", "hack.localcluster upp"),
        ("python3 -m hack.localcluster up --bakend kind", "--bakend"),
        ("helm instal andante .", "helm instal"),
        ("helm upgrade andante . --set andante-operator.ticks=5", "andante-operator.ticks"),
        ("kubectl aply -f examples/llmservice.yaml", "kubectl aply"),
        ("kubectl apply -f examples/llm-service.yaml", "examples/llm-service.yaml"),
        ("kubectl get lls chat -o jsonpath='{.status.scaling.decision[0]}'", "status.scaling.decision[0]"),
        (
            "kubectl get lls chat -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].mesage}'",
            "status.conditions[0].mesage",
        ),
        ("""kubectl patch lls chat --type=merge -p '{"spec":{"scaling":{"modes":"Manual"}}}'""", "spec.scaling.modes"),
        ("kubectl describe deploy andante-operator", "kubectl describe deploy andante-operator"),
        ('eval "$(make -s install-lokal)"', "make install-lokal"),
        ("frobnicate --all", "frobnicate"),
    ],
)
def test_a_wrong_command_is_found_at_its_line(command: str, name: str) -> None:
    said = _said(_block("make help", command))
    assert f"docs/how-to/page.md:4: {name!r}:" in said


def test_a_block_that_nothing_runs_is_found() -> None:
    assert "nothing runs it" in _said("```bash\nmake help\n```\n")


def test_what_a_command_prints_is_no_command() -> None:
    assert _said(_block("$ kubectl get lls", "NAME  READY", "chat  True")) == ""
    assert "'kubectl gett'" in _said(_block("$ kubectl gett lls", "NAME  READY", "chat  True"))


def test_a_block_without_a_language_or_an_indented_one_is_found_too() -> None:
    assert "nothing runs it" in _said("```\nkubectl get lls\n```\n")
    assert "nothing runs it" in _said("Made by:\n\n    andante trace show x.csv\n")


@pytest.mark.parametrize("note", ["not run:", "not run: later", "run by: tests/unit/test_no_such.py"])
def test_a_note_that_gives_no_reason_is_found(note: str) -> None:
    assert "line before it" in _said(_block("make help", note=note))


def test_a_test_that_does_not_read_the_page_is_no_reason() -> None:
    assert "does not read this page" in _said(_block("make help", note="run by: tests/unit/test_advice.py"))


def test_a_manifest_that_the_operator_refuses_is_found() -> None:
    manifest = "apiVersion: andante.dev/v1alpha1\nkind: LLMService\nmetadata: {name: x}\nspec: {model: {name: y}}"
    assert "the operator refuses it" in _said(f"```yaml\n{manifest}\n```\n")


def test_so_is_a_part_of_one_with_a_name_that_does_not_exist() -> None:
    assert "'spec.engine.gpus'" in _said("```yaml\nspec:\n  engine: {gpus: 4}\n```\n")
    assert "'andante-operator.imageRepository'" in _said("```yaml\nandante-operator: {imageRepository: x}\n```\n")


def test_a_claim_that_the_reader_must_invent_is_found() -> None:
    assert "'my-disk': no manifest of this claim" in _said("```yaml\nsource: {pvc: {claimName: my-disk}}\n```\n")


def test_a_riddle_is_found() -> None:
    assert "'whoever': write say who" in _said("It quotes whoever found it.\n")


def test_what_exists_is_left_alone() -> None:
    right = (
        "`spec.engine.gpusPerReplica`, `scaling.maxReplicas`, the chart's `tickSeconds`, `andante_requests_total`,\n"
        "`--print-command`, `ANDANTE_CACHE`, `docs/architecture.md`, `ImagePullFailed`, `SLOMet=False`, `make test`,\n"
        "`kubectl get lls chat`, `rollout: {maxSurge: 0}`, `andante qoe --pace 5`, `nvidia.com/gpu`,\n"
        "`hub`, `decide(snapshot, memory, now)`.\n"
    )
    commands = _block(
        'make cluster-up ARGS="--name two"  # the second\'s name',
        "kubectl logs deploy/andante-operator --namespace andante-system",
        "kubectl apply -f - <<'YAML'",
        "apiVersion: v1",
        "YAML",
        "helm upgrade andante . --set andante-operator.uninstall.services=Remove",
    )
    assert _said(right + commands) == ""
