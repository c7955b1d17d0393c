"""Mean QoE over load as a small SVG, written by hand: the engine environment has no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 380, 56, 40, 110, 48
COLOURS = ("#0b6e4f", "#b23a48", "#e09f3e", "#335c81", "#6c584c", "#8338ec", "#4b4b4b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One scheduler's (load, mean QoE) points, ascending in load."""

    name: str
    points: tuple[tuple[float, float], ...]


def qoe_over_load(
    curves: Sequence[Curve],
    *,
    title: str,
    what: str = "over load",
    axis: str = "load (1 = what FCFS completes with an endless queue)",
) -> str:
    """An SVG document; QoE from 0 to 1, load (or what `axis` says) from the lowest to the highest measured."""
    loads = [load for curve in curves for load, _ in curve.points]
    low, high = min(loads), max(max(loads), min(loads) + 0.1)

    def place(load: float, qoe: float) -> tuple[float, float]:
        return (
            LEFT + (load - low) / (high - low) * (WIDTH - LEFT - RIGHT),
            TOP + (1 - qoe) * (HEIGHT - TOP - BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">{escape(f"Mean QoE {what}: {title}")}</text>',
    ]
    for step in range(6):
        _, y = place(low, step / 5)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" font-size="11" text-anchor="end">{step / 5:.1f}</text>')
    ticks = sorted(set(loads))
    for load in ticks[:: -(-len(ticks) // 8)]:
        x, y = place(load, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" font-size="11" text-anchor="middle">{load:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" font-size="12" text-anchor="middle">{escape(axis)}</text>')
    for index, curve in enumerate(curves):
        colour = COLOURS[index % len(COLOURS)]
        placed = [place(load, qoe) for load, qoe in curve.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
        y = TOP + 16 * (index + 1)
        parts.append(
            f'<text x="{WIDTH - RIGHT + 14}" y="{y}" font-size="12" fill="{colour}">{escape(curve.name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
