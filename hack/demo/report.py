"""Writes the demo's report.html: what readers got and what it took, on every side; over time; and answers to replay."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from andante.domain.pace import QoEClass
from hack.demo.comparison import Purchase, Row, compare, paired, purchases, rows, steps
from hack.demo.figure import plot
from hack.demo.outcome import Demo, Side
from hack.demo.pod_lives import PodLife, most_ready, replica_minutes
from hack.demo.replay import replay_data, script_json

_FOLDER = Path(__file__).parent
PAGE = Template((_FOLDER / "report.html.in").read_text(encoding="utf-8"))
WHO_LEAVES = (
    "Who would have left: a reader leaves after waiting for longer than their patience, for the first word or after"
    " having read all that came, as in the project's simulator; patience is exponential. The clients here stayed, so"
    " the figures say how many would have left on average."
)
SCRIPT = (_FOLDER / "replay.js").read_text(encoding="utf-8")


def write_report(path: Path, demo: Demo, *, reader: QoEClass, prompt_tokens: Sequence[int]) -> None:
    """One self-contained HTML file: no network is needed to open it.

    `reader`: what the readers expect. `prompt_tokens`: of each request, by its number.
    """
    found = rows(demo, reader)
    page = PAGE.substitute(
        verdicts=_verdicts(demo, found),
        headlines=_tiles(demo, found),
        pace=f"{reader.pace:g}",
        expected_ttft=f"{reader.expected_ttft:g}",
        heads="".join(f"<th>{escape(side.name)}</th>" for side in demo.sides)
        + ("<th>better</th>" if demo.rival else ""),
        table="".join(_table_row(row, demo) for row in found),
        notes=_notes(demo),
        figure=plot(demo),
        actions="".join(_actions(side, demo) for side in demo.sides),
        replay_data=script_json(replay_data(demo, reader, prompt_tokens)),
        replay_script=SCRIPT,
    )
    path.write_text(page, encoding="utf-8")


def saved_replica_minutes(pods: Sequence[PodLife], *, until: float) -> tuple[float, float]:
    """Replica-minutes of the run, and those of a fixed number of replicas: the most that served at the same time."""
    return replica_minutes(pods, until=until), most_ready(pods) * until / 60


def _verdicts(demo: Demo, found: Sequence[Row]) -> str:
    boxes = [("bad" if demo.complaints else "good", _own_verdict(demo))]
    verdict = compare(demo, found)
    if verdict:
        boxes.append((verdict.outcome.value, verdict.text))
    if demo.no_rival:
        boxes.append(("mixed", demo.no_rival))
    return "".join(f"<p class='verdict {kind}'>{escape(text)}</p>" for kind, text in boxes)


def _own_verdict(demo: Demo) -> str:
    if demo.complaints:
        return " ".join(demo.complaints)
    ready = [s.ready for s in demo.ours.samples]
    return (
        f"Replicas rose from {ready[0]} to {max(ready)} with the surge and fell back to {ready[-1]} after it, "
        "and no stream was cut."
    )


def _tiles(demo: Demo, found: Sequence[Row]) -> str:
    known = {row.name: row for row in found}
    used, always = saved_replica_minutes(demo.ours.pods, until=demo.until)
    most = known["most replicas ready"].texts[0]
    less = f", {1 - used / always:.0%} less than the {always:.1f} of a fixed {most}" if always else ""

    def beside(name: str, *, share: bool = False) -> str:
        if demo.rival is None:
            return ""
        value = known[name].values[1]
        text = known[name].texts[1] if not share else ("unknown" if value is None else f"{value:.0%}")
        return f"; {demo.rival.name}: {text}"

    good = known["share good"].values[0]
    tiles = [
        ("mean QoE", known["QoE, mean"].texts[0], f"1: every token when its reader wanted it{beside('QoE, mean')}"),
        (
            "good answers",
            "unknown" if good is None else f"{good:.0%}",
            f"start in time, and hardly stall{beside('share good', share=True)}",
        ),
        ("most replicas", most, f"ready at the same time{beside('most replicas ready')}"),
        ("replica-minutes", known["replica-minutes"].texts[0], f"paid for{less}{beside('replica-minutes')}"),
        (
            "streams cut",
            known["streams cut"].texts[0],
            f"of {known['requests'].texts[0]} requests{beside('streams cut')}",
        ),
    ]
    return "".join(
        f"<div class='tile'><b>{escape(value)}</b><span>{escape(name)}</span><small>{escape(meaning)}</small></div>"
        for name, value, meaning in tiles
    )


def _table_row(row: Row, demo: Demo) -> str:
    cells = "".join(f"<td class='n'>{escape(text)}</td>" for text in row.texts)
    if demo.rival:
        winner = "" if row.winner is None else demo.sides[row.winner].name
        cells += f"<td>{escape(winner)}</td>"
    return f"<tr><th>{escape(row.name)}</th>{cells}</tr>"


def _notes(demo: Demo) -> str:
    notes = [
        WHO_LEAVES,
        f"Replica-minutes count each pod from its creation to the end of its drain, until second {demo.until:.0f}.",
    ]
    pair = paired(demo)
    if pair and demo.rival:
        notes.append(
            f"The {pair.requests} requests one by one: {demo.ours.name} served {pair.better} better and {pair.worse}"
            f" worse than {demo.rival.name}; the mean difference of their QoE is {pair.mean:+.3f}. One run on one"
            " machine: small differences mean nothing."
        )
    return "".join(f"<p class='quiet'>{escape(note)}</p>" for note in notes)


def _actions(side: Side, demo: Demo) -> str:
    """What one scaler did and why, and what became of each replica that it bought."""
    numbered = side is demo.ours
    changes = "".join(
        f"<tr><td>{f'<i>{number}</i>' if numbered else ''}</td><td class='n'>{change.at:.0f} s</td>"
        f"<td class='n'>{'unknown' if before is None else before} → {change.desired}</td>"
        f"<td><code>{escape(change.reason)}</code></td><td>{escape(change.message)}</td></tr>"
        for number, (before, change) in enumerate(steps(side), start=1)
    )
    bought = "".join(map(_purchase, purchases(side.pods, surge=demo.surge)))
    changes = changes or "<tr><td colspan='5'>The scaler changed nothing.</td></tr>"
    bought = bought or "<tr><td colspan='4'>None was bought.</td></tr>"
    return (
        f"<h2>{escape(side.name)}: what the scaler did, and why</h2>"
        "<table><thead><tr><th></th><th>when</th><th>replicas</th><th>reason</th><th>in its words</th></tr></thead>"
        f"<tbody>{changes}</tbody></table>"
        f"<h3>{escape(side.name)}: the replicas that were bought</h3>"
        "<table><thead><tr><th>bought</th><th>ready after</th><th>for the surge</th><th>gone</th></tr></thead>"
        f"<tbody>{bought}</tbody></table>"
    )


def _purchase(bought: Purchase) -> str:
    pod = bought.pod
    warm_up = "never" if pod.warm_up is None else f"{pod.warm_up:.0f} s"
    gone = "is still there" if pod.gone is None else f"{pod.gone:.0f} s"
    late = " class='late'" if bought.too_late else ""
    return (
        f"<tr><td class='n'>{pod.created:.0f} s</td><td class='n'>{warm_up}</td>"
        f"<td{late}>{escape(bought.words)}</td><td class='n'>{gone}</td></tr>"
    )
