"""The picture of the matrix: totals and gaps of every guest in every way, as SVG."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.comparison import Cell, Comparison
from bench.measured import Migration, median

COLOURS: Final = ("#b9bec6", "#7d8793", "#1f6feb")
"""Of the ways, in their order; ours is the last."""
WIDTH: Final = 960
_LEFT, _RIGHT = 64, 16
_TOP, _HEIGHT, _BETWEEN, _BOTTOM = 58, 210, 64, 48
_INK, _LINE = "#57606a", "#d0d7de"
_TEXT: Final = 'font-family="system-ui, sans-serif" font-size="12"'


@dataclass(frozen=True, slots=True)
class _Panel:
    """One of the two charts: what it shows, in milliseconds on a logarithmic scale."""

    title: str
    part: Callable[[Migration], float]
    least: float
    most: float
    top: int

    def y(self, value: float) -> float:
        """Give where a value stands."""
        share = math.log(max(value, self.least) / self.least) / math.log(self.most / self.least)
        return self.top + _HEIGHT * (1 - min(1.0, share))

    def marks(self) -> Iterator[float]:
        """Give the values that have a line: 1, 10, 100…"""
        value = self.least
        while value <= self.most:
            yield value
            value *= 10


def draw(found: Comparison) -> str:
    """Draw it; nothing where nothing was measured."""
    workloads, ways = found.workloads(), found.ways()
    if not workloads:
        return ""
    panels = (
        _Panel("total, from the request until the guest runs there and the source is gone", lambda one: one.total,
               10, 100_000, _TOP),
        _Panel("gap, as heard from outside", lambda one: one.gap, 1, 1_000, _TOP + _HEIGHT + _BETWEEN),
    )  # fmt: skip
    height = panels[-1].top + _HEIGHT + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Live migrations by raw QMP and by quorate</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_legend(ways),
    ]
    for panel in panels:
        parts += _axes(panel)
        step = (WIDTH - _LEFT - _RIGHT) / len(workloads)
        for column, workload in enumerate(workloads):
            left = _LEFT + column * step
            middle = left + step / 2
            parts.append(_text(middle, panel.top + _HEIGHT + 18, workload.name, anchor="middle"))
            width = step * 0.72 / len(ways)
            for place, way in enumerate(ways):
                at = left + step * 0.14 + place * width
                parts += _bar(panel, found.cell(workload, way), at, width * 0.86, _colour(ways, way))
    return "\n".join((*parts, "</svg>")) + "\n"


def _legend(ways: Sequence[str]) -> Iterator[str]:
    for number, way in enumerate(ways):
        left = _LEFT + number * 130
        yield f'<rect x="{left}" y="12" width="12" height="12" fill="{_colour(ways, way)}"/>'
        yield _text(left + 18, 22, way)
    yield _text(WIDTH - _RIGHT, 22, "bars: median; strokes: worst; milliseconds, logarithmic", anchor="end")


def _axes(panel: _Panel) -> Iterator[str]:
    yield _text(_LEFT, panel.top - 10, panel.title)
    for value in panel.marks():
        y = panel.y(value)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="{_LINE}"/>'
        yield _text(_LEFT - 8, y + 4, f"{value:,.0f}", anchor="end")


def _bar(panel: _Panel, cell: Cell, left: float, width: float, colour: str) -> Iterator[str]:
    """Draw one bar with a stroke for the worst; one that was cut goes up to the edge and is open there."""
    if not cell.made:
        return
    bottom, ended = panel.top + _HEIGHT, cell.ended
    if not ended:
        edge = panel.top + 6
        yield (
            f'<rect x="{left:.1f}" y="{edge}" width="{width:.1f}" height="{bottom - edge}" fill="none" '
            f'stroke="{colour}" stroke-dasharray="3 3"/>'
        )
        x, y = left + width / 2 + 4, bottom - 8
        words = f"cut at {cell.made[0].total:g} s"
        yield (
            f'<text x="{x:.1f}" y="{y}" {_TEXT} fill="{_INK}" transform="rotate(-90 {x:.1f} {y})">'
            f"{escape(words)}</text>"
        )
        return
    values = [1000 * panel.part(one) for one in ended]
    top, worst, middle = panel.y(median(values)), panel.y(max(values)), left + width / 2
    yield (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}" fill="{colour}">'
        f"<title>{escape(f'{cell.workload.name}, {cell.way}: {median(values):.0f} ms, worst {max(values):.0f} ms')}"
        "</title></rect>"
    )
    yield f'<line x1="{middle:.1f}" y1="{top:.1f}" x2="{middle:.1f}" y2="{worst:.1f}" stroke="{_INK}"/>'
    yield (
        f'<line x1="{left + width * 0.2:.1f}" y1="{worst:.1f}" x2="{left + width * 0.8:.1f}" y2="{worst:.1f}" '
        f'stroke="{_INK}"/>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {_TEXT} fill="{_INK}" text-anchor="{anchor}">{escape(words)}</text>'


def _colour(ways: Sequence[str], way: str) -> str:
    return COLOURS[ways.index(way) % len(COLOURS)]
