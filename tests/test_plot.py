"""Charts: well-formed, to scale, and nothing outside the page."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from s2deploy.plot import Bar, Panel, chart, milliseconds

SVG = "{http://www.w3.org/2000/svg}"


def bars(*values: float) -> tuple[Bar, ...]:
    return tuple(Bar(f"<{value}>", value, 0.9 * value, 1.2 * value, f"{value} ms & more") for value in values)


def drawn(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def test_bars_are_to_scale_and_text_is_escaped() -> None:
    root = drawn(chart("A & B", "how <fast>", "ms", [Panel("one", bars(1.0, 4.0))]))
    rectangles = [entry for entry in root.iter(f"{SVG}rect") if entry.get("class") == "bar"]
    widths = [float(entry.attrib["width"]) for entry in rectangles]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.01)
    texts = [entry.text for entry in root.iter(f"{SVG}text")]
    assert {"A & B", "how <fast>", "<1.0>", "4.0 ms & more", "ms"} <= set(texts)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("values", [(0.001, 0.002), (12.0,), (3.0, 100.0, 0.5), (0.0,)])
def test_nothing_is_drawn_outside_the_page(columns: int, values: tuple[float, ...]) -> None:
    root = drawn(chart("t", "s", "ms", [Panel(f"panel {n}", bars(*values)) for n in range(5)], columns=columns))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for entry in root.iter():
        for name, most in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y1", height), ("y2", height)):
            assert 0 <= float(entry.attrib.get(name, 0)) <= most
        if entry.tag == f"{SVG}rect":
            assert float(entry.get("x", 0)) + float(entry.attrib["width"]) <= width
    assert len([entry for entry in root.iter(f"{SVG}rect") if entry.get("class") == "bar"]) == 5 * len(values)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1234"), (99.96, "100"), (99.94, "99.9"), (9.994, "9.99"), (1.0, "1.00"), (0.0557, "0.056")],
)
def test_times_have_three_digits(value: float, text: str) -> None:
    assert milliseconds(value) == text
