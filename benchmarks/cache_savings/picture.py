"""The picture of what a cache saves: cost as bars, times of calls on a logarithmic scale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 330
_TOP, _BOTTOM = 84, 270
_MIDDLE, _RIGHT = 400, 730
_COLOURS = ("#6b7280", "#0f766e", "#c2410c")
_TEXT, _LINE = "#111827", "#d1d5db"


@dataclass(frozen=True, slots=True)
class Series:
    """One way to make the calls: its cost, and the median and p95 of each run's calls."""

    name: str
    cost_usd: float
    p50_ms: Sequence[float]
    p95_ms: Sequence[float]


def savings(calls: int, latency: str, series: Sequence[Series]) -> str:
    """The picture as SVG, without anything that is fetched; `latency` is the provider's."""
    title = f"{calls} identical calls of a provider that takes {latency}: what a cache saves"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(20, 28, title, size=16, weight="bold"),
        _text(20, 58, f"cost of {calls} calls, USD", weight="bold"),
        _text(
            _MIDDLE + 10, 58, "time of a call, each run: p50 (full) and p95 (ring)", weight="bold"
        ),
        *_costs(series),
        *_times(series),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _costs(series: Sequence[Series]) -> Iterator[str]:
    most = max(max(one.cost_usd for one in series), 1e-9)
    width = (_MIDDLE - 50) / len(series)
    for number, one in enumerate(series):
        height = max((_BOTTOM - _TOP - 16) * one.cost_usd / most, 1.0)
        x = 20 + number * width + width * 0.15
        y = _BOTTOM - height
        yield (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width * 0.7:.1f}" height="{height:.1f}" '
            f'fill="{_COLOURS[number % len(_COLOURS)]}"/>'
        )
        middle = x + width * 0.35
        yield _text(middle, y - 6, f"{one.cost_usd:.6g}", anchor="middle")
        yield from _label(middle, one.name)
    yield _line(20, _BOTTOM, _MIDDLE - 30, _BOTTOM)


def _times(series: Sequence[Series]) -> Iterator[str]:
    every = [time for one in series for time in (*one.p50_ms, *one.p95_ms) if time > 0] or [1.0]
    low, high = floor(log10(min(every))), ceil(log10(max(every)))
    high = max(high, low + 1)
    left = _MIDDLE + 50

    def y(time: float) -> float:
        share = (log10(max(time, 10.0**low)) - low) / (high - low)
        return _BOTTOM - share * (_BOTTOM - _TOP)

    for power in range(low, high + 1):
        yield _line(left, y(10.0**power), _RIGHT, y(10.0**power))
        yield _text(left - 6, y(10.0**power) + 4, f"{10.0**power:g} ms", anchor="end")
    width = (_RIGHT - left) / len(series)
    for number, one in enumerate(series):
        colour = _COLOURS[number % len(_COLOURS)]
        step = width * 0.7 / max(len(one.p50_ms), 1)
        for run, (half, most) in enumerate(zip(one.p50_ms, one.p95_ms, strict=True)):
            x = left + number * width + width * 0.15 + step * (run + 0.5)
            yield f'<circle cx="{x:.1f}" cy="{y(half):.1f}" r="3.5" fill="{colour}"/>'
            yield (
                f'<circle cx="{x:.1f}" cy="{y(most):.1f}" r="3.5" fill="none" stroke="{colour}"/>'
            )
        middle = left + number * width + width / 2
        yield from _label(middle, one.name)


def _label(x: float, name: str) -> Iterator[str]:
    """A name under its place, a line for each part."""
    for number, part in enumerate(name.split(", ")):
        yield _text(x, _BOTTOM + 18 + 15 * number, part, anchor="middle")


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{_TEXT}">{escape(text)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{_LINE}"/>'
