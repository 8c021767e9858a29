"""Bar charts as SVG files: panels of horizontal bars with their spread, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from s2deploy.results import BenchResult

_BAR, _GAP, _HEAD, _FOOT, _MARGIN = 16, 8, 52, 22, 16
_TITLE_AND_SPACE, _BETWEEN = 34, 18
_CHARACTER = 6.6
_STYLE = """
svg { font: 12px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; }
.page { fill: #ffffff; } .text { fill: #1f2933; } .soft { fill: #64707d; } .grid { stroke: #dfe4ea; }
.bar { fill: #a9b4c2; } .main { fill: #2f6fde; } .wrong { fill: #d9822b; }
.range { stroke: #1f2933; stroke-width: 1.2; }
.title { font-size: 15px; font-weight: 600; } .panel { font-weight: 600; }
.number { font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) {
  .page { fill: #10161d; } .text { fill: #e6eaef; } .soft { fill: #97a3b0; } .grid { stroke: #2a333d; }
  .bar { fill: #566373; } .main { fill: #5b93f5; } .wrong { fill: #e39a4e; } .range { stroke: #e6eaef; }
}
"""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: What it stands for.
        value: Its length.
        low: Where its spread begins.
        high: Where it ends.
        text: What is written after it.
        kind: ``main`` for the one the chart is about, ``wrong``, or ``bar``.
    """

    label: str
    value: float
    low: float
    high: float
    text: str
    kind: str = "bar"


@dataclass(frozen=True)
class Panel:
    """Bars that share an axis, with a title."""

    title: str
    bars: tuple[Bar, ...]


def chart(title: str, subtitle: str, unit: str, panels: Sequence[Panel], *, columns: int = 1, width: int = 860) -> str:
    """Returns a chart as the text of an SVG file.

    Args:
        title: What the chart shows.
        subtitle: How it was measured.
        unit: The unit of the axes.
        panels: At least one, each with its own axis from zero.
        columns: How many panels stand side by side.
        width: Of the whole chart, in pixels.
    """
    columns = min(columns, len(panels))
    each = (width - 2 * _MARGIN - (columns - 1) * _BETWEEN) / columns
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    parts, top = [], float(_HEAD)
    for row in rows:
        for column, panel in enumerate(row):
            parts.append(_panel(panel, unit, _MARGIN + column * (each + _BETWEEN), top, each))
        top += max(map(_height, row)) + _BETWEEN
    height = top - _BETWEEN + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" width="{width}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n'
        f'<rect class="page" width="{width}" height="{height:.0f}" rx="6"/>\n'
        f"{_text(_MARGIN, 25, title, 'text title')}\n{_text(_MARGIN, 43, subtitle, 'soft')}\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def bench_chart(result: BenchResult) -> str:
    """Returns a benchmark's medians as a chart; the spread reaches from the shortest call to the 90th percentile."""
    bars = tuple(
        Bar(
            entry.label,
            entry.median_ms,
            entry.least_ms,
            entry.p90_ms,
            f"{milliseconds(entry.median_ms)} ms  {entry.ratio.value:.2f}×",
            "wrong"
            if entry.agreement is not None and entry.agreement.failed
            else "main"
            if entry.label == result.baseline
            else "bar",
        )
        for entry in result.measurements
    )
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, (_, shape) in result.inputs.items())
    threads = f"{result.threads} thread{'s' * (result.threads != 1)}"
    notes = f"{shapes}, {threads}, {result.rounds} interleaved rounds, {result.conditions.processor}"
    return chart("Latency of a call: median, from the fastest to the 90th percentile", notes, "ms", [Panel("", bars)])


def milliseconds(value: float) -> str:
    """Returns a time with three digits."""
    return next(
        (f"{value:.{digits}f}" for digits, least in enumerate((99.95, 9.995, 0.9995)) if value >= least), f"{value:.3f}"
    )


def _height(panel: Panel) -> float:
    return (_TITLE_AND_SPACE if panel.title else 8) + len(panel.bars) * (_BAR + _GAP) + _FOOT


def _panel(panel: Panel, unit: str, left: float, top: float, width: float) -> str:
    labels = min(width * 0.45, max(len(bar.label) for bar in panel.bars) * _CHARACTER + 10)
    texts = max(len(bar.text) for bar in panel.bars) * _CHARACTER + 12
    start, room = left + labels, width - labels - texts
    largest = max(max(bar.value, bar.high) for bar in panel.bars) or 1.0
    step = _step(largest)
    scale = room / largest
    first = top + (_TITLE_AND_SPACE if panel.title else 8)
    bottom = first + len(panel.bars) * (_BAR + _GAP)
    parts = [_text(left, top + 18, panel.title, "text panel")] if panel.title else []
    for number in range(int(largest / step) + 1):
        x = start + number * step * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{first - 4:.1f}" y2="{bottom:.1f}"/>')
        parts.append(_text(x, bottom + 13, f"{number * step:g}", "soft number", anchor="middle"))
    parts.append(_text(left + width, bottom + 13, unit, "soft", anchor="end"))
    for number, bar in enumerate(panel.bars):
        y = first + number * (_BAR + _GAP)
        middle = y + _BAR / 2
        end = start + max(bar.value, bar.high) * scale
        parts += [
            _text(start - 8, middle + 4, bar.label, "text", anchor="end"),
            f'<rect class="{bar.kind}" x="{start:.1f}" y="{y:.1f}" width="{bar.value * scale:.1f}" height="{_BAR}" '
            'rx="2"/>',
            f'<line class="range" x1="{start + bar.low * scale:.1f}" x2="{start + bar.high * scale:.1f}" '
            f'y1="{middle:.1f}" y2="{middle:.1f}"/>',
            _text(end + 7, middle + 4, bar.text, "text number"),
        ]
    return "\n".join(parts)


def _step(largest: float) -> float:
    """Returns a round distance of grid lines: about five of them."""
    power = 1.0
    while power * 10 <= largest / 5:
        power *= 10
    while power > largest / 5:
        power /= 10
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= largest / 5)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
