"""The tables of the scheduler's pages from the documents of benchmarks/results, as Markdown.

What was not measured is said so; no figure comes from anywhere else. Pure: documents in, text out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
SCHEDULERS = (
    "qoe+host", "qoe", "shortest+host", "shortest", "las+host", "las", "edf+host", "edf", "andes+host", "andes",
    "fcfs+host", "fcfs", "priority+host", "priority", "fcfs-default",
)  # fmt: skip
SHOWN_LOADS = (0.95, 1.0, 1.1, 1.2, 1.4)
HOST = "+host"
UNKNOWN = "not measured"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join(' --- ' for _ in columns)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])


def points_of(document: Document) -> dict[tuple[str, float], Mapping[str, Any]]:
    """The averages of a document of `bench_scheduler`, by scheduler and load."""
    return {(p["scheduler"], p["load"]): p for p in document["figures"]["points"]}


def load_table(document: Document) -> str:
    """Each scheduler at the loads that the page shows."""
    points = points_of(document)
    return table(
        ("load", "scheduler", "mean QoE", "left", "smooth goodput", "p1", "p5", "good", "longest wait s", "tokens/s",
         "recomputed", "seeds"),
        [
            (
                f"{load:g}", name, f"{p['mean_qoe']:.4f}", f"{p['share_left']:.2%}", f"{p['smooth_goodput']:.0f}",
                f"{p['p1_qoe']:.3f}", f"{p['p5_qoe']:.3f}", f"{p['share_good']:.3f}", f"{p['longest_wait']:.0f}",
                f"{p['throughput']:.0f}", f"{p['recomputed_tokens']:.0f}", len(p["seeds"]),
            )
            for load in SHOWN_LOADS for name in SCHEDULERS if (p := points.get((name, load))) is not None
        ],
    )  # fmt: skip


def held_table(document: Document) -> str:
    """The load that each scheduler carries at a mean QoE, and that load over stock's best with as much memory."""
    points = points_of(document)
    rows: list[Sequence[object]] = []
    for name in SCHEDULERS:
        if not any(scheduler == name for scheduler, _ in points):
            continue
        cells: list[str] = []
        for objective in (98, 95, 90):
            held = document["headline"][f"load_held_at_mean_0{objective}"]
            known = f"{held[name]:.3f}" if name in held else "not crossed"
            stock = "fcfs" + (HOST if name.endswith(HOST) else "")
            ratio = f" ({held[name] / held[stock]:.2f} times)" if name in held and stock in held else ""
            cells.append(known + ratio)
        rows.append((name, *cells))
    return table(("scheduler", "mean QoE .98", ".95", ".90"), rows)


def violation_rows(document: Document) -> list[Sequence[object]]:
    """Where `qoe` is worse than stock at its best, or dominated, in one document of any bench: with the figures."""
    name = document["name"]
    found: list[Sequence[object]] = [
        (name, f"{v['scheduler']} at load {v['load']:g}", f"{v['what']} ({v['than']})", v["figures"])
        for v in document["figures"].get("violations", ())
    ]
    for pair in document["figures"]["points"]:
        point = pair.get("point")
        if not point:
            continue
        found += [(name, _where(point), "worse than stock (fcfs)", figures) for figures in pair["violations"]]
    return found


def _where(point: Mapping[str, Any]) -> str:
    requests = point["trace"] or point["lengths"] + (", sessions" if point["sessions"] else "")
    prefix = f" behind {point['common_prefix']} shared tokens" if point["common_prefix"] else ""
    patience = "" if point["patience"] is None else f", patience {point['patience']:g} s"
    return f"{requests}{prefix} on {point['profile']}, pace {point['pace']:g}, load {point['load']:g}{patience}"


def violations_table(documents: Sequence[Document]) -> str:
    """All of them, the points that were looked at first."""
    rows: list[Sequence[object]] = []
    for document in documents:
        found = violation_rows(document)
        count = len(document["figures"]["points"])
        rows += found or [(document["name"], f"all {count} points", "none", "")]
    return table(("results", "where", "what", "figures of `qoe` (the other's)"), rows)


def sweep_table(document: Document) -> str:
    """How many points of a sweep are worse than stock, by what the requests share and the readers' patience."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for pair in document["figures"]["points"]:
        point = pair["point"]
        shared = "their history" if point["sessions"] else f"{point['common_prefix'] or 'no'} tokens"
        patience = "endless" if point["patience"] is None else f"{point['patience']:g} s"
        groups.setdefault((point["trace"] or shared, patience), []).append(pair)
    rows = []
    for (shared, patience), pairs in groups.items():
        differences = [p["qoe"]["mean_qoe"] - p["fcfs"]["mean_qoe"] for p in pairs]
        goodput = [(p["qoe"]["smooth_goodput"] - p["fcfs"]["smooth_goodput"]) / p["fcfs"]["throughput"] for p in pairs]
        leavers = [p["qoe"]["share_left"] - p["fcfs"]["share_left"] for p in pairs]
        tokens = [p["qoe"]["throughput"] / p["fcfs"]["throughput"] for p in pairs]
        rows.append(
            (
                shared, patience, len(pairs), sum(bool(p["violations"]) for p in pairs),
                f"{min(differences):+.4f}", f"{sum(differences) / len(pairs):+.4f}", f"{max(differences):+.4f}",
                f"{min(goodput):+.1%}", f"{min(tokens):.1%}", f"{max(leavers):+.2%}",
            )
        )  # fmt: skip
    return table(
        ("shared", "patience", "points", "worse than stock", "mean QoE: least gain", "mean", "most",
         "smooth goodput: least, of tokens/s", "tokens/s: least", "leavers: most more"),
        rows,
    )  # fmt: skip


def gains_table(endless: Document, leaving: Document | None, surge: Document | None) -> str:
    """What `qoe` gains over vLLM's FCFS at its best, in a few lines for those who want no table.

    Each column compares equals: with host memory for KV, FCFS has it too.
    """
    points = points_of(endless)
    rows: list[Sequence[object]] = [
        (f"mean QoE at load {load:g}, after 20 minutes", *(_instead(points, load, ".3f", end) for end in ENDS))
        for load in (1.1, 1.2, 1.4)
    ]
    held = endless["headline"].get("load_held_at_mean_095", {})
    more = (
        f"{held['qoe' + end] / held['fcfs' + end]:.2f} times" if {"qoe" + end, "fcfs" + end} <= held.keys() else UNKNOWN
        for end in ENDS
    )  # fmt: skip
    rows.append(("requests a second at mean QoE .95", *more))
    if leaving is not None:
        patience = leaving["settings"]["patience"]
        known = points_of(leaving)
        for load in (1.0, 1.2):
            cells = (_instead(known, load, ".1%", end, "share_left") for end in ENDS)
            rows.append((f"readers who leave at load {load:g}, mean patience {patience:g} s", *cells))
    if surge is not None:
        cells = (_fewer(surge["headline"], end) for end in ENDS)
        rows.append(("replicas for a surge of 60 s to 2.5 times the load, at mean QoE .95", *cells))
    return table(
        (
            "in virtual time, on the paper's profile, against vLLM's FCFS at its best",
            "without host memory for KV",
            "with it",
        ),
        rows,
    )  # fmt: skip


ENDS = ("", HOST)
"""Of the names of schedulers: without and with host memory."""


def _instead(
    points: Mapping[tuple[str, float], Mapping[str, Any]], load: float, form: str, end: str, figure: str = "mean_qoe"
) -> str:
    ours, stock = points.get(("qoe" + end, load)), points.get(("fcfs" + end, load))
    if ours is None or stock is None:
        return UNKNOWN
    return f"{ours[figure]:{form}} instead of {stock[figure]:{form}}"


def _fewer(headline: Mapping[str, float], end: str) -> str:
    share = headline.get(f"fewer_replicas_qoe{end}_for_fcfs_at_mean_qoe_095")
    return UNKNOWN if share is None else f"{share:.0%} fewer"
