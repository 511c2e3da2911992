from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.workflows.plotting import iou_histogram_svg

SVG = "{http://www.w3.org/2000/svg}"
# of SVG Tiny 1.2, which is what Qt draws
ELEMENTS = {"svg", "title", "rect", "line", "text"}
ATTRIBUTES = {
    *("version", "baseProfile", "width", "height", "viewBox", "transform"),
    *("font-family", "font-size", "font-weight", "text-anchor"),
    *("fill", "stroke", "stroke-dasharray"),
    *("x", "y", "x1", "y1", "x2", "y2"),
}


def read(svg):
    return ET.fromstring(svg)


def bars(svg):
    """Return place, height and colour of each bar; paper and legend are no bars."""
    found = read(svg).findall(f"{SVG}rect")[1:-1]
    return [
        (round((float(r.get("x")) - 44.75) / 13.2), float(r.get("height")), r.get("fill"))
        for r in found
    ]


def words(svg):
    return [text.text for text in read(svg).iter(f"{SVG}text")]


def test_each_bin_of_one_twentieth_has_its_objects():
    # what begins a bin is in it, and 1 is in the last
    edges = [place / 20 for place in range(21)]
    found = bars(iou_histogram_svg(edges))
    assert [place for place, _, _ in found] == list(range(20))
    heights = [height for _, height, _ in found]
    assert heights[:19] == [heights[0]] * 19
    assert heights[19] == pytest.approx(2 * heights[0], abs=0.02)


def test_objects_that_nothing_was_predicted_for_have_their_own_colour():
    unmet, other = bars(iou_histogram_svg([0, 0.049, 0.05]))
    assert (unmet[0], other[0]) == (0, 1)
    assert unmet[2] != other[2]
    assert "none or < 0.05: 2" in words(iou_histogram_svg([0, 0.049, 0.05]))


def test_one_object_among_thousands_is_still_seen():
    found = bars(iou_histogram_svg([0.9] * 20_000 + [0]))
    assert found[0][1] >= 1.5


def test_without_objects_it_says_so():
    assert "no objects" in words(iou_histogram_svg([]))
    assert bars(iou_histogram_svg([])) == []


@pytest.mark.parametrize(
    ("count", "ticks"),
    [
        (1, ["0", "1"]),
        (3, ["0", "1", "2", "3"]),
        (27, ["0", "10", "20", "30"]),
        (140, ["0", "50", "100", "150"]),
        (48_000, ["0", "20k", "40k", "60k"]),
    ],
)
def test_the_scale_has_few_round_numbers(count, ticks):
    shown = words(iou_histogram_svg([0.77] * count))
    assert shown[1 : 1 + len(ticks)] == ticks
    assert shown[1 + len(ticks)] == "objects"


def test_what_is_read_aloud_says_what_is_seen():
    svg = iou_histogram_svg([0.9, 0.5, 0.3, 0], "Nuclei")
    assert read(svg).find(f"{SVG}title").text == (
        "Nuclei: of 4 objects, 2 with an IoU of 0.5 or more, 1 below 0.05 or none"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_ink_and_bars_are_told_from_their_paper(dark):
    svg = iou_histogram_svg([0, 0.9], dark=dark)
    paper = read(svg).find(f"{SVG}rect").get("fill")
    assert contrast(read(svg).get("fill"), paper) > 7
    assert all(contrast(color, paper) > 3 for _, _, color in bars(svg))


def contrast(one, other):
    """Return the contrast of WCAG 2, 1–21."""
    lights = []
    for color in (one, other):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ [0.2126, 0.7152, 0.0722])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@given(st.lists(st.floats(0, 1), max_size=30), st.text(), st.booleans())
def test_any_title_gives_a_small_picture_that_qt_can_draw(ious, title, dark):
    root = read(iou_histogram_svg(ious, title, dark=dark))
    assert (root.get("width"), root.get("height")) == ("320", "180")
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in ELEMENTS
        assert element.attrib.keys() <= ATTRIBUTES
    assert len(words(iou_histogram_svg(ious, title))[0] or "") <= 36


@pytest.mark.parametrize("iou", [-0.1, 1.1, float("nan")])
def test_what_is_no_iou_is_refused(iou):
    with pytest.raises(ValueError, match="between 0 and 1"):
        iou_histogram_svg([0.5, iou])
