"""Checks one documented command without running it: program, sub-command, flags, make target, chart values, files."""

from __future__ import annotations

import difflib
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache

from hack.docs import foreign, known, schema
from hack.docs.foreign import HELM, KUBECTL
from hack.docs.markdown import ROOT
from hack.docs.shell import Command, commands

OUR_MODULES = {"andante-engine": "andante_vllm.cli", "andante-operator": "andante.entry"}
NAMESPACED = frozenset({"logs", "describe", "get", "rollout", "exec", "port-forward", "delete", "wait"})
_PLACEHOLDER = re.compile(r"^[A-Z][A-Z0-9_-]*$|[<>*$…]|\.\.\.|SUBSTITUTED")

Saying = tuple[str, str]


def faults(command: Command) -> Iterator[Saying]:
    """The faults of a command: the wrong words, and what to write instead."""
    check = CHECKS.get(command.program.rpartition("/")[2])
    if check is not None:
        yield from check(command)
    elif command.program.startswith(("hack/", "./hack/", ".ci/")):
        yield from _file(command.program)
    elif (
        command.program not in foreign.PROGRAMS
        and not _PLACEHOLDER.search(command.program)
        and "/" not in command.program
    ):
        yield (
            command.program,
            "not one of our programs; if another project has it, add it to PROGRAMS in hack/docs/foreign.py",
        )
    for word in command.words[1:]:
        yield from _file(word)


def _make(command: Command) -> Iterator[Saying]:
    targets = []
    variables = []
    skip = False
    for word in command.words[1:]:
        if skip:
            skip = False
        elif "=" in word and not word.startswith("-"):
            variables.append(word)
        elif word in ("-C", "-f", "-j"):
            skip = True
        elif not word.startswith("-"):
            targets.append(word)
    for target in targets:
        stem = re.sub(r"(…|\.\.\.|\*)$", "", target)
        exists = target in known.make_targets() or (
            stem != target and any(t.startswith(stem) for t in known.make_targets())
        )
        if not exists and not _PLACEHOLDER.fullmatch(target):
            yield f"make {target}", f"no such make target{_near(target, known.make_targets())}; `make help` lists them"
            return
    for variable in variables:
        name = variable.partition("=")[0]
        if name not in known.make_variables():
            yield variable, f"no recipe reads {name}{_near(name, known.make_variables())}"
    if targets and any("--" in variable for variable in variables):
        for inner in commands(_dry_run(tuple(targets), tuple(variables))):
            if inner.program.startswith("python"):
                yield from _python(inner)


@cache
def _dry_run(targets: tuple[str, ...], variables: tuple[str, ...]) -> str:
    """The commands that `make` would run."""
    call = ["make", "--dry-run", "--no-print-directory", *targets, *variables]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def _andante(command: Command) -> Iterator[Saying]:
    words = [word for word in command.words[1:] if not word.startswith("-")]
    found = known.andante_command(tuple(words))
    if found is None:
        yield " ".join(command.words[:3]), "no such command; `andante --help` lists them"
        return
    path, flags = found
    for flag in command.flags:
        if flag not in flags:
            yield flag, f"`{path}` has no such flag{_near(flag, flags)}"


def _engine_or_operator(command: Command) -> Iterator[Saying]:
    yield from _module(OUR_MODULES[command.program.rpartition("/")[2]], command.words[1:], command.flags)


def _python(command: Command) -> Iterator[Saying]:
    if "-m" not in command.words:
        return
    at = command.words.index("-m")
    module = command.words[at + 1] if at + 1 < len(command.words) else ""
    if module.split(".")[0] in ("hack", "andante", "andante_vllm", "benchmarks"):
        rest = Command((module, *command.words[at + 2 :]), command.line)
        yield from _module(module, rest.words[1:], rest.flags)


def _module(module: str, words: tuple[str, ...], flags: Iterable[str]) -> Iterator[Saying]:
    text = known.module_help(module, ())
    if text is None:
        yield module, "no such module, or it does not start; name one that exists"
        return
    first = next((word for word in words if not word.startswith("-")), None)
    subcommands = known.subcommands_in(text)
    if first is not None and subcommands and not _PLACEHOLDER.search(first):
        if first not in subcommands:
            yield f"{module} {first}", f"no such command{_near(first, subcommands)}; `--help` lists them"
            return
        text += known.module_help(module, (first,)) or ""
    for flag in flags:
        if flag not in known.flags_in(text):
            yield flag, f"`{module}` has no such flag{_near(flag, known.flags_in(text))}"


def _pytest(command: Command) -> Iterator[Saying]:
    return iter(())


def _kubectl(command: Command) -> Iterator[Saying]:
    words = without_options(command)
    if not words or _PLACEHOLDER.search(words[0]):
        return
    verb = words[0]
    if verb == "andante":  # our own plugin
        yield from _andante(Command(("andante", *words[1:]), command.line))
        return
    if verb not in KUBECTL:
        yield f"kubectl {verb}", f"no such command of kubectl{_near(verb, KUBECTL)}"
        return
    namespaced = any(
        word in ("-n", "-A") or word.startswith(("--namespace", "-n", "--all-namespaces")) for word in command.words
    )
    ours = [
        word
        for word in words
        if re.fullmatch(r"((deploy|deployment|pod|deployments\.apps)/)?andante-operator(-\S*)?", word)
    ]
    if ours and verb in NAMESPACED and not namespaced:
        yield " ".join(command.words), "the operator has its own namespace: add `--namespace andante-system`"
    if verb == "logs" and len(words) < 2 < len(command.words) and not command.option("-l", "--selector"):
        yield (
            " ".join(command.words),
            "name the log: `kubectl logs --namespace andante-system deploy/andante-operator`, or POD",
        )
    if any(word.startswith(("lls", "llmservice")) for word in words):
        for path in _jsonpaths(command):
            if not schema.has(schema.crd(), schema.segments(path)) and not path.startswith(
                ("metadata", "kind", "apiVersion")
            ):
                yield path, "no such field of an LLMService; docs/reference/llmservice.md has all of them"
    for patch in command.option("-p", "--patch"):
        yield from _patch(words, patch)


def _patch(words: list[str], patch: str) -> Iterator[Saying]:
    import yaml

    if len(words) > 1 and words[1].startswith(("lls", "llmservice")):
        try:
            value = yaml.safe_load(patch)
        except yaml.YAMLError:
            yield patch, "no JSON or YAML"
            return
        for path in schema.unknown(schema.crd(), value if isinstance(value, Mapping) else {}):
            if not path.startswith("metadata"):
                yield path, "no such field of an LLMService; docs/reference/llmservice.md has all of them"


def _jsonpaths(command: Command) -> list[str]:
    texts = [value for option in ("-o", "--output", "--for") for value in command.option(option) if "jsonpath" in value]
    texts += [word for word in command.words if word.startswith(("-ojsonpath", "-o=jsonpath"))]
    plain = (re.sub(r"\[\?\([^)]*\)\]", "[0]", text) for text in texts)  # a filter chooses one of the list
    return [path for text in plain for path in re.findall(r"\{\.((?:spec|status)[\w.\[\]*]*)", text)]


def without_options(command: Command) -> list[str]:
    """Sub-commands and arguments of kubectl and helm."""
    takes_a_value = {
        "-n",
        "--namespace",
        "-f",
        "--filename",
        "-o",
        "--output",
        "-l",
        "--selector",
        "-c",
        "--context",
        "--kubeconfig",
        "-p",
    }
    words = []
    skip = False
    for word in command.words[1:]:
        if skip:
            skip = False
        elif word in takes_a_value:
            skip = True
        elif word == "--":
            break
        elif not word.startswith("-"):
            words.append(word)
    return words


def _helm(command: Command) -> Iterator[Saying]:
    words = [word for word in command.words[1:] if not word.startswith("-")]
    if words and words[0] not in HELM and not _PLACEHOLDER.search(words[0]):
        yield f"helm {words[0]}", f"no such command of helm{_near(words[0], HELM)}"
    if any("andante" in word or word == "." for word in words[1:]):
        for pairs in command.option("--set", "--set-string", "--set-json", "--set-file"):
            for pair in re.split(r",(?=[\w.-]+=)", pairs):
                yield from _value(pair.partition("=")[0])


def _value(key: str) -> Iterator[Saying]:
    if not schema.has(schema.chart(), schema.segments(key.replace("\\.", "_"))):
        yield (
            key,
            "no such value of the chart; docs/reference/chart-values.md has all of them (below `andante-operator`)",
        )


def _file(word: str) -> Iterator[Saying]:
    """Check a word that names a file of this repository."""
    path = re.sub(r"^(-f=|--[\w-]+=|@|\./)", "", word).rstrip("/").partition("::")[0]
    top = path.split("/")[0]
    folders = {name for name in known.files() if "/" not in name and (ROOT / name).is_dir()} - {"."}
    if (
        "/" in path
        and top in folders
        and re.fullmatch(r"[\w./-]+", path)
        and not re.search(r"\b[A-Z]{3,}\b", path)
        and path not in known.files()
        and not (ROOT / path).exists()
    ):
        yield word, f"no such file{_near(path, known.files())}"


def _near(name: str, among: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(among), n=3, cutoff=0.6)
    return f"; do you mean {' or '.join(f'`{one}`' for one in near)}?" if near else ""


near = _near
CHECKS: Mapping[str, Callable[[Command], Iterator[Saying]]] = {
    "make": _make,
    "andante": _andante,
    "kubectl-andante": _andante,
    "andante-engine": _engine_or_operator,
    "andante-operator": _engine_or_operator,
    "python": _python,
    "python3": _python,
    "pytest": _pytest,
    "kubectl": _kubectl,
    "helm": _helm,
    "oc": _kubectl,
}
PROGRAMS = frozenset(CHECKS) | {"docker", "podman", "buildah", "curl", "git", "pip"}
