"""Checks names: in backticks on a page, and in the sentences of messages.

The form of a name decides where it is looked up: `spec.a.b` and `aB` are fields, `--x` is a flag, `andante_x` a metric,
`ANDANTE_X` a variable, `x/y` a file, `OneTwo` a reason, a kind or a class, `one_two` a name of the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from hack.docs import known, schema
from hack.docs.commands import PROGRAMS, Saying, faults, near
from hack.docs.foreign import ENDINGS, FIELDS, FLAGS, PATHS, VARIABLE_PREFIXES, VARIABLES, WORDS
from hack.docs.markdown import GENERATED, ROOT, Fault, Page, Span
from hack.docs.shell import commands

_FIELD = re.compile(r"\.?[a-z][A-Za-z0-9]*(\[[^\]]*\])?(\.[a-z][A-Za-z0-9_]*(\[[^\]]*\])?)*")
_CAMEL = re.compile(r"[a-z]+[A-Z]")
_OF_THE_CHART_BEFORE = re.compile(r"\b(chart's( value)?|chart value|value of the chart:?)\s+$")
_OF_THE_CHART_AFTER = re.compile(r"^\s+(of the chart\b(?! 's)|in the chart's values)")
_PLACEHOLDER = re.compile(
    r"(?!README|CHANGELOG|CONTRIBUTING|SECURITY|LICENSE)(?<![A-Z])[A-Z]{4,}|(?<![A-Za-z])[A-Z]{2,}/"
)  # andante-VERSION.tgz, HOST/PATH
_ROOTS = ("spec.", "status.")
_CHART_NAME = r"(?:andante-operator\.|global\.)?[a-z][A-Za-z0-9]+(?:\.[a-z][A-Za-z0-9]+)*"
_IN_SENTENCE = re.compile(
    r"(?<![\w./$-])((?:spec|status|model|engine|scaling|rollout|qoe|scheduler|monitoring)(?:\.[a-z]\w*)+|[a-z]+[A-Z]\w*(?:\.[a-z]\w*)*)"
)
_CHART_SENTENCE = re.compile(rf"chart's (?:values? )?({_CHART_NAME})|chart value ({_CHART_NAME})")


def of_page(page: Page) -> list[Fault]:
    """The faults of the names in backticks."""
    if page.path in GENERATED:
        return []  # made from the models; tests/unit/test_docs_messages.py checks their texts
    return [Fault(page.path, span.line, name, advice) for span in page.spans for name, advice in of_span(span)]


def of_span(span: Span) -> Iterator[Saying]:
    """The faults of one name in backticks."""
    text = span.text.strip()
    first, _, rest = text.partition(" ")
    if first in PROGRAMS and (rest or "/" not in text):
        for command in commands(text):
            yield from faults(command)
        return
    if _OF_THE_CHART_BEFORE.search(span.before) or _OF_THE_CHART_AFTER.match(span.after):
        if re.fullmatch(_CHART_NAME, text) and not in_chart(text):
            yield text, "no such value of the chart; docs/reference/chart-values.md has all of them"
        return
    yield from of_name(text)


def of_name(text: str) -> Iterator[Saying]:
    """The faults of a name that is looked up by its form."""
    if text.startswith("-"):
        yield from _flags(text)
    elif re.fullmatch(r"\$?\{?[A-Z][A-Z0-9]*_[A-Z0-9_]+\}?(=.*)?", text):
        yield from _variable(re.sub(r"[${}]|=.*", "", text))
    elif re.fullmatch(r"andante_[a-z0-9_{},*]+(\{[a-z_,]+\})?", text):
        yield from _metric(text)
    elif re.fullmatch(r"[\w.*~$…/-]+", text) and ("/" in text or text.endswith(ENDINGS)):
        yield from _path(text)
    elif re.fullmatch(r"[A-Z][A-Za-z]+=(True|False|Unknown)", text):
        yield from _condition(text.partition("=")[0])
    elif _FIELD.fullmatch(text) and ("." in text or _CAMEL.match(text)):
        yield from _field(text)
    elif re.fullmatch(r"[a-z][\w.]*: .+|[a-z][\w.]*: *\{.*\}", text):
        yield from _fragment(text)
    elif re.fullmatch(r"(?=.*[a-z])[A-Z][A-Za-z]*[A-Z][A-Za-z]*", text):
        if text not in known.words() | known.condition_types() | WORDS:
            yield text, f"no reason, condition, kind or class of that name{near(text, _camel_words())}"
    elif re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", text) and text not in known.words() | known.tests() | WORDS:
        yield text, f"no such name in the code{near(text, (w for w in known.words() if '_' in w))}"


def of_sentence(text: str) -> Iterator[Saying]:
    """The faults of the names in a message: fields, chart values, flags, variables, make targets."""
    for match in _CHART_SENTENCE.finditer(text):
        name = (match[1] or match[2]).rstrip(".")
        if (_CAMEL.match(name) or "." in name) and name not in known.names_of_files() and not in_chart(name):
            yield name, "no such value of the chart; docs/reference/chart-values.md has all of them"
    for match in re.finditer(rf"({_CHART_NAME}(?: and {_CHART_NAME})*) (?:in|among) the (?:chart's )?values", text):
        for name in match[1].split(" and "):
            if _CAMEL.match(name) and not in_chart(name):
                yield name, "no such value of the chart; docs/reference/chart-values.md has all of them"
    for match in _IN_SENTENCE.finditer(text):
        if not text[match.end() :].startswith(("(", "://", "-")):
            yield from _field(match[1])
    for flag in re.findall(r"(?<![\w-])--[a-z][\w-]+", text):
        yield from _flags(flag)
    for name in re.findall(r"\bANDANTE_[A-Z_]+", text):
        yield from _variable(name)
    for target in re.findall(r"`make ([a-z][\w-]*)", text):
        if target not in known.make_targets():
            yield f"make {target}", f"no such make target{near(target, known.make_targets())}"
    for quoted in re.findall(r"`((?:kubectl|helm|andante|python3? -m) [^`]+)`", text):
        for command in commands(re.sub(r"\{[^}]*\}", "NAME", quoted)):
            yield from faults(command)


def in_chart(name: str) -> bool:
    """Whether the chart has this value, with or without the prefix `andante-operator.`."""
    path = schema.segments(name)
    if len(path) == 1 and path[0] in yaml.safe_load((ROOT / "Chart.yaml").read_text()):
        return True
    return schema.has(schema.chart(), path) or schema.has(schema.chart(), ["andante-operator", *path])


def _field(text: str) -> Iterator[Saying]:
    path = schema.segments(text)
    if _PLACEHOLDER.search(text):
        return
    if text in FIELDS or text.endswith(ENDINGS) or text in known.names_of_files():
        return
    if text.lstrip(".").startswith(_ROOTS):
        if not schema.has(schema.crd(), path):
            yield text, "no such field of an LLMService; docs/reference/llmservice.md has all of them"
        return
    trees = (schema.crd(), schema.chart(), *schema.settings())
    if any(schema.has_somewhere(tree, path) for tree in trees) or path[-1] in FIELDS:
        return
    if all(part in known.words() for part in path) and (len(path) == 1 or text == text.lower()):
        return
    yield text, "no field of an LLMService, no value of the chart, no setting, no name of the code; see docs/reference/"


def _fragment(text: str) -> Iterator[Saying]:
    key, _, rest = text.partition(":")
    try:
        value = yaml.safe_load(rest)
    except yaml.YAMLError:
        return
    nested: object = value
    for part in reversed(schema.segments(key)):
        nested = {part: nested}
    trees = (schema.crd(), schema.chart(), *schema.settings())
    if (
        not isinstance(nested, dict)
        or not (isinstance(value, dict) or "." in key or _CAMEL.match(key))
        or key in FIELDS
    ):
        return  # `note: text` is a sentence, not a field
    if not any(schema.fits_somewhere(tree, nested) for tree in trees):
        yield text, "no such field of an LLMService or of the chart; see docs/reference/llmservice.md"


def _flags(text: str) -> Iterator[Saying]:
    for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", text):
        if flag not in known.our_flags() | FLAGS:
            yield (
                flag,
                f"no flag of ours{near(flag, known.our_flags())}; one of another's goes to hack/docs/foreign.py",
            )
    for pair in re.findall(r"--set[ =]([\w.-]+)=", text):
        if not in_chart(pair):
            yield pair, "no such value of the chart; docs/reference/chart-values.md has all of them"


def _variable(name: str) -> Iterator[Saying]:
    if not name.startswith(VARIABLE_PREFIXES) and name not in known.words() | VARIABLES | known.make_variables():
        ours = (word for word in known.words() if word.startswith("ANDANTE_"))
        yield (
            name,
            f"nothing reads this variable{near(name, ours)}; one of another program goes to hack/docs/foreign.py",
        )


def _metric(text: str) -> Iterator[Saying]:
    brace = re.search(r"\{([a-z_,]+)\}", text)
    if brace and not text.endswith("}"):
        names = [text.replace(brace[0], part) for part in brace[1].split(",")]
    else:
        names = [re.sub(r"\{.*", "", text)]
    for name in names:
        stem = re.sub(r"_(total|sum|count|bucket)$", "", name)
        glob = name.endswith(("_", "*")) and any(metric.startswith(name.rstrip("*")) for metric in known.metrics())
        if stem not in known.metrics() and not glob and name not in known.words():
            yield name, f"no such metric{near(stem, known.metrics())}"


def _path(text: str) -> Iterator[Saying]:
    if re.search(r"[$~*…]|\.\.\.", text) or text.startswith(("/", ".")) or text in PATHS:
        return
    path = text.rstrip("/")
    top = path.split("/")[0]
    if "/" in path:
        if path in known.files() or any(one.endswith(f"/{path}") for one in known.files()):
            return
        domain = "." in top or (path.count("/") == 1 and "." not in path and f"{top}" not in known.files())
        if domain and not path.endswith(ENDINGS):
            return  # nvidia.com/gpu, andante.dev/x, Azure/AzurePublicDataset
        if not _PLACEHOLDER.search(path):
            yield text, f"no such file{near(path, known.files())}"
    elif path not in known.names_of_files() | PATHS and not _PLACEHOLDER.search(path):
        yield (
            text,
            f"no such file{near(path, known.names_of_files())}; one that the reader makes goes to hack/docs/foreign.py",
        )


def _condition(name: str) -> Iterator[Saying]:
    if name not in known.condition_types():
        yield (
            name,
            f"no such condition{near(name, known.condition_types())}; docs/reference/conditions.md has all of them",
        )


def _camel_words() -> Iterator[str]:
    return (word for word in known.words() if re.fullmatch(r"[A-Z][a-z]+[A-Z][A-Za-z]+", word))
