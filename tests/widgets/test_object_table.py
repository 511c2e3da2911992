"""The objects table: what it shows, keeps and tells, by real keys and clicks."""

from __future__ import annotations

from html import unescape

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication, QKeySequence, QShortcut
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_sam3.core.objects import REVIEW_STATES
from napari_sam3.widgets._columns import (
    COLUMNS,
    Column,
    to_cell,
    to_count,
    to_number,
    to_score,
)
from napari_sam3.widgets._feature_model import FeatureModel
from napari_sam3.widgets._feature_values import Values, sort_rows
from napari_sam3.widgets._object_table import FILTER_DELAY_MS, ObjectTable
from napari_sam3.widgets._state_marks import state_icon
from tests.tiers import examples

DISPLAY, ALIGNMENT = Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.TextAlignmentRole
DECORATION, TOOLTIP = Qt.ItemDataRole.DecorationRole, Qt.ItemDataRole.ToolTipRole
KEY, NONE = Qt.Key, Qt.KeyboardModifier.NoModifier
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def objects(count=40, **columns):
    """Return a frame like that of a Labels layer, in the order of its labels."""
    number = np.arange(1, count + 1)
    frame = pd.DataFrame(
        {
            "index": number,
            "score": (number * 37 % 101) / 100,
            "area": number * 53 % 1999 + 1,
            "concept": np.where(number % 3 == 0, "nucleus", "Cell body"),
            "engine": np.where(number % 2 == 0, "Built-in", "SAM3"),
            "state": [REVIEW_STATES[n % 4] for n in number],
            "overlaps": number % 5 == 0,
        }
    )
    return frame.assign(**columns)


@pytest.fixture
def make(qtbot):
    """Open a table in a window of its own."""

    def make(frame=None, **options):
        table = ObjectTable(**options)
        qtbot.addWidget(table)
        table.resize(400, 300)
        table.show(objects() if frame is None else frame)
        with qtbot.waitExposed(table):
            table.show()
        return table

    return make


@pytest.fixture
def table(make):
    return make()


@pytest.fixture
def said(table):
    """All that the table has said was selected."""
    heard = []
    table.selected.connect(heard.append)
    return heard


def section(table, name):
    return [column.name for column in table.model.columns].index(name)


def cell(table, row, name, role=DISPLAY):
    return table.model.index(row, section(table, name)).data(role)


def shown(table, name):
    return [cell(table, row, name) for row in range(table.model.rowCount())]


def titles(table):
    header = range(table.model.columnCount())
    return [table.model.headerData(i, Qt.Orientation.Horizontal) for i in header]


def click(table, row, modifiers=NONE, button=Qt.MouseButton.LeftButton):
    place = table.view.visualRect(table.model.index(row, 0)).center()
    QTest.mouseClick(table.view.viewport(), button, modifiers, place)


def click_header(table, name):
    header = table.view.horizontalHeader()
    left = header.sectionViewportPosition(section(table, name))
    QTest.mouseClick(
        header.viewport(), Qt.MouseButton.LeftButton, NONE, QPoint(left + 8, header.height() // 2)
    )


def press(table, key, modifiers=NONE):
    QTest.keyClick(table.view, key, modifiers)


# what cells say


def test_numbers_read_as_in_a_paper():
    assert [to_score(v) for v in (0.934, 0.999, 1.0, 0.0, -0.25)] == [
        ".93",
        "1.00",
        "1.00",
        ".00",
        "-.25",
    ]
    assert to_count(1234567.0) == "1,234,567"
    assert [to_number(v) for v in (0.001234567, 12.3456, 12345.6, 7, 1e15)] == [
        "0.001235",
        "12.35",
        "12,346",
        "7",
        "1e+15",
    ]
    assert to_cell(np.bool_(True)) == "✓"
    assert to_cell("a\n\tb") == "a b"


def test_cells_read_as_their_columns_ask_for(make):
    table = make(objects(3, score=[0.5, np.nan, 1.0], area=[1234, 5, 6]))
    assert shown(table, "score") == [".50", "", "1.00"]
    assert shown(table, "area") == ["1,234", "5", "6"]
    assert shown(table, "overlaps") == ["", "", ""]
    assert shown(table, "state") == ["accepted", "rejected", "edited"]
    assert cell(table, 0, "area", ALIGNMENT) & Qt.AlignmentFlag.AlignRight
    assert cell(table, 0, "concept", ALIGNMENT) & Qt.AlignmentFlag.AlignLeft


def test_each_state_has_a_mark_of_its_own_beside_its_word(table):
    pictures = [state_icon(state).pixmap(24, 24).toImage() for state in REVIEW_STATES]
    assert all(one != other for i, one in enumerate(pictures) for other in pictures[:i])
    assert not cell(table, 0, "state", DECORATION).isNull()
    assert cell(table, 0, "concept", DECORATION) is None
    assert state_icon("nobody's") is None


def test_columns_of_others_stand_on_the_right(make):
    table = make(objects(2).assign(perimeter=[1.5, 2.5])[["perimeter", "area", "index", "score"]])
    assert titles(table) == ["Label", "Score", "Area", "perimeter"]


def test_titles_are_given_with_the_frame_and_stay(make):
    table = make(objects(2).assign(area_calibrated=[0.5, 0.7]))
    frame = objects(2).assign(area_calibrated=[0.5, 0.7])
    table.show(frame, titles={"area_calibrated": "Area (nm²)"})
    table.show(frame)
    assert "Area (nm²)" in titles(table)


def test_columns_can_be_given(make):
    table = make(
        objects(2),
        columns=(
            Column("concept", "What"),
            Column("index", "No."),
            Column("engine", "E", is_hidden=True),
        ),
    )
    assert titles(table)[:2] == ["What", "No."]
    assert table.hidden_columns() == ("engine",)
    assert table.view.isColumnHidden(section(table, "engine"))


def test_the_five_that_matter_fit_into_a_narrow_dock(make, qtbot):
    table = make(objects(400, area=99_999))
    table.resize(340, 300)
    qtbot.wait(1)
    last = section(table, "state")
    right = table.view.columnViewportPosition(last) + table.view.columnWidth(last)
    assert [c.name for c in COLUMNS[:5]] == ["index", "score", "area", "concept", "state"]
    assert right <= table.view.viewport().width()


# odd frames


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"index": np.empty(0, int)}),
        pd.DataFrame({"index": np.empty(0, int), "score": np.empty(0), "concept": []}),
    ],
)
def test_an_empty_frame_is_an_empty_table(make, frame):
    table = make(frame)
    table.set_filter("nucleus area>5 score=0.5")
    click_header(table, "index")
    press(table, KEY.Key_A, CONTROL)
    assert table.visible_labels() == table.selected_labels() == ()
    assert table.move(1) is None
    assert table.count.text() == "0"


def test_a_frame_without_labels_takes_the_row_for_one_as_napari_does(make):
    table = make(pd.DataFrame({"area": [9, 8, 7]}))
    assert table.visible_labels() == (1, 2)
    assert shown(table, "area") == ["8", "7"]


def test_rows_that_are_no_objects_are_left_out(make):
    table = make(pd.DataFrame({"index": ["b", 3, None, 2.5, "7", 0, 1e300], "area": range(7)}))
    assert table.visible_labels() == (3, 7)
    assert shown(table, "area") == ["1", "4"]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([3, 1, 2], np.uint16),
        np.array([3.0, 1.0, 2.0]),
        pd.array([3, 1, 2], "Int64"),
        pd.Categorical([3, 1, 2]),
        ["3", "1", "2"],
    ],
)
def test_labels_of_any_type_are_whole_numbers_in_order(make, labels):
    assert make(pd.DataFrame({"index": labels})).visible_labels() == (1, 2, 3)


def test_the_index_of_the_frame_does_not_matter(make):
    frame = objects(3).set_index(pd.Index(["x", "x", "y"]))
    table = make(frame)
    table.set_filter("area>54")
    table.select([2])
    assert table.selected_labels() == (2,)


def test_a_label_with_two_rows_is_one_label(make):
    table = make(objects(4, index=[7, 7, 5, 9]))
    table.select([7])
    assert table.visible_labels() == (5, 7, 7, 9)
    assert len(table.view.selected_rows()) == 2
    assert table.selected_labels() == (7,)


def test_markup_and_newlines_stay_words(make):
    nasty = "<b>bold</b>\nsecond & <img src='x'>"
    table = make(objects(1, concept=[nasty]))
    assert cell(table, 0, "concept") == "<b>bold</b> second & <img src='x'>"
    assert "&lt;b&gt;bold&lt;/b&gt;\nsecond &amp;" in cell(table, 0, "concept", TOOLTIP)


ODD = {
    "mixed": ["x", 3, None, 2.5],
    "lists": [[1, 2], [3], None, []],
    "arrays": [np.zeros(2), np.ones(3), None, None],
    "category": pd.Categorical(["low", "high", None, "low"], ["low", "high"], ordered=True),
    "numbers": pd.Categorical([10, 2, None, 10]),
    "nullable": pd.array([3, None, 1, 2], "Int64"),
    "logical": pd.array([True, None, False, True], "boolean"),
    "maybe": [True, None, False, np.nan],
    "time": pd.to_datetime(["2024-05-01", None, "2023-01-02", "2025-01-01"]),
    "complex": [1 + 2j, 3j, 0, 1],
    "infinite": [np.inf, -np.inf, np.nan, 1.0],
    "single": np.array([0.7, 0.2, np.nan, 0.9], np.float32),
    "all missing": [None] * 4,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_are_shown_sorted_and_compared_without_a_crash(make, name):
    table = make(objects(4).assign(odd=ODD[name]))
    for _ in range(3):
        table.view.horizontalHeader().sectionClicked.emit(section(table, "odd"))
        assert sorted(table.visible_labels()) == [1, 2, 3, 4]
        assert all(isinstance(text, str) for text in shown(table, "odd"))
    for text in ("odd>1", "odd=1", "odd=low", "odd!=yes", 'odd=""', "odd<=1e300", "odd>inf"):
        table.set_filter(text)
    table.grab()


@pytest.mark.parametrize(
    ("name", "up"),
    [
        ("mixed", (4, 2, 1, 3)),
        ("category", (1, 4, 2, 3)),
        ("numbers", (2, 1, 4, 3)),
        ("nullable", (3, 4, 1, 2)),
        ("logical", (3, 1, 4, 2)),
        ("maybe", (3, 1, 2, 4)),
        ("time", (3, 1, 4, 2)),
        ("infinite", (2, 4, 1, 3)),
    ],
)
def test_odd_values_sort_by_what_they_mean(make, name, up):
    table = make(objects(4).assign(odd=ODD[name]))
    table.model.sort_by("odd")
    assert table.visible_labels() == up


def test_columns_of_one_name_or_of_no_text_are_shown_once(make):
    frame = pd.DataFrame([[4, 1, 2, 9]], columns=["index", "area", "area", 0])
    table = make(frame)
    assert titles(table) == ["Label", "Area", "0"]
    assert [cell(table, 0, name) for name in ("area", "0")] == ["1", "9"]


def test_words_where_a_number_is_expected_are_shown_as_words(make):
    table = make(objects(2, score=["high", None], area=["?", 12345]))
    assert shown(table, "score") == ["high", ""]
    assert shown(table, "area") == ["?", "12,345"]


def test_the_frame_may_change_behind_the_table(make):
    frame = objects(4)
    table = make(frame)
    frame.loc[9] = [9, 0.5, 1, "x", "y", "edited", True]
    del frame["score"]
    table.grab()
    assert shown(table, "index") == ["1", "2", "3", "4"]


# sorting


def test_a_header_sorts_up_then_down_then_not(table):
    scores = objects().set_index("index")["score"]
    click_header(table, "score")
    assert table.visible_labels() == tuple(scores.sort_values(kind="stable").index)
    assert titles(table)[section(table, "score")] == "Score ▲"
    click_header(table, "score")
    assert table.visible_labels() == tuple(scores.sort_values(ascending=False).index)
    assert titles(table)[section(table, "score")] == "Score ▼"
    click_header(table, "score")
    assert table.visible_labels() == tuple(range(1, 41))
    assert titles(table)[section(table, "score")] == "Score"


def test_another_header_starts_anew(table):
    click_header(table, "score")
    click_header(table, "score")
    click_header(table, "area")
    areas = objects().set_index("index")["area"]
    assert table.visible_labels() == tuple(areas.sort_values(kind="stable").index)


@given(st.lists(st.sampled_from([1.5, 2.5, np.nan, -1.0])), st.booleans())
def test_sorting_is_stable_and_puts_what_is_missing_last(numbers, descending):
    values = Values(pd.Series(numbers, dtype=float))
    rows = sort_rows(np.arange(len(numbers)), values, descending=descending)
    sign = -1 if descending else 1
    expected = sorted(
        range(len(numbers)),
        key=lambda i: (np.isnan(numbers[i]), 0 if np.isnan(numbers[i]) else sign * numbers[i]),
    )
    assert rows.tolist() == expected


@given(st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=9), st.booleans())
def test_words_sort_whatever_their_case(words, descending):
    series = pd.Series(words, dtype=object)
    rows = sort_rows(np.arange(len(words)), Values(series), descending=descending)
    found = [" ".join(words[row].split()).casefold() for row in rows if words[row] is not None]
    assert found == sorted(found, reverse=descending)
    assert all(words[row] is None for row in rows[len(found) :])


# filtering


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ("NUCLEUS", lambda f: f["concept"] == "nucleus"),
        ("cell body", lambda f: f["concept"] == "Cell body"),
        ('"l b"', lambda f: f["concept"] == "Cell body"),
        ("nuc edit", lambda f: (f["concept"] == "nucleus") & (f["state"] == "edited")),
        ("sam", lambda f: f["engine"] == "SAM3"),
        ("3", lambda f: f["index"].astype(str).str.contains("3") | (f["engine"] == "SAM3")),
        ("area>500", lambda f: f["area"] > 500),
        ("area > 500", lambda f: f["area"] > 500),
        ("AREA>=54 area<1000", lambda f: (f["area"] >= 54) & (f["area"] < 1000)),
        ("score<=0.7", lambda f: f["score"] <= 0.7),
        ("score!=0.37", lambda f: f["score"] != 0.37),
        ("state=edited", lambda f: f["state"] == "edited"),
        ("state==Edited", lambda f: f["state"] == "edited"),
        ("state!=edited", lambda f: f["state"] != "edited"),
        ('concept="cell body"', lambda f: f["concept"] == "Cell body"),
        ("concept=cell", lambda f: f["index"] < 0),
        ("overlaps=yes", lambda f: f["overlaps"]),
        ("overlaps=no", lambda f: ~f["overlaps"]),
        ("label<4", lambda f: f["index"] < 4),
        ("index<4", lambda f: f["index"] < 4),
        ("nucleus area>500", lambda f: (f["concept"] == "nucleus") & (f["area"] > 500)),
        ("   ", lambda f: f["index"] > 0),
        ('"', lambda f: f["index"] > 0),
    ],
)
def test_a_filter_leaves_what_it_says(table, text, keeps):
    frame = objects()
    table.set_filter(text)
    assert table.visible_labels() == tuple(frame["index"][keeps(frame)])
    assert not table.model.hints


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("area>", "Write a value after “area>”"),
        ('concept="', "Write a value"),
        ("area>big", "“big” is none"),
        ("area>nan", "“nan” is none"),
        ("area>inf", "“inf” is none"),
        ("arae>5", "no column “arae”"),
        ("state>edited", "compare it with = or !="),
        ("overlaps=maybe", "overlaps=yes"),
        ("overlaps>0", "compare it with = or !="),
        (">5", "Write a column"),
        ("area>5<7", "“5<7” is none"),
    ],
)
def test_a_comparison_that_cannot_be_read_filters_nothing_and_is_explained(table, text, hint):
    table.set_filter(text)
    assert len(table.visible_labels()) == 40
    assert hint in unescape(table.filter.toolTip())
    table.set_filter(f"{text} state=edited" if text.endswith("7") else f"state=edited {text}")
    assert len(table.visible_labels()) == 10
    table.set_filter("area>5")
    assert hint not in unescape(table.filter.toolTip())


@given(st.text(alphabet='ab1.<>=!" -\\()[area score', max_size=14))
def test_any_text_is_a_filter(text):
    model = FeatureModel()
    model.show(objects(5))
    model.filter(text)
    assert set(model.labels) <= {1, 2, 3, 4, 5}


def test_equal_means_as_many_decimals_as_were_typed(make):
    table = make(objects(4, score=[0.931, 0.926, 0.94, np.nan]))
    table.set_filter("score=.93")
    assert table.visible_labels() == (1, 2)
    table.set_filter("score=0.931")
    assert table.visible_labels() == (1,)


def test_what_is_missing_passes_no_comparison_and_can_be_asked_for(make):
    frame = objects(3, score=[0.9, np.nan, 0.1], concept=["a", None, "b"])
    table = make(frame)
    for text, left in (
        ("score>=0", (1, 3)),
        ("score<2", (1, 3)),
        ('score=""', (2,)),
        ('concept=""', (2,)),
        ('score!=""', (1, 3)),
        ("concept=a", (1,)),
    ):
        table.set_filter(text)
        assert table.visible_labels() == left


def test_numbers_of_few_bits_compare_as_they_are_written(make):
    table = make(objects(2, score=np.array([0.9, 0.7], np.float32)))
    table.set_filter("score>=0.9")
    assert table.visible_labels() == (1,)


def test_a_title_of_several_words_can_be_compared(make):
    table = make(objects(2).assign(area_calibrated=[0.5, 7.0]))
    table.show(objects(2).assign(area_calibrated=[0.5, 7.0]), {"area_calibrated": "Area (nm²)"})
    table.set_filter("area (nm²)>1")
    assert table.visible_labels() == (2,)


def test_typing_filters_after_a_pause_and_enter_at_once(table, qtbot):
    QTest.keyClicks(table.filter, "nucleus")
    assert len(table.visible_labels()) == 40
    qtbot.waitUntil(lambda: len(table.visible_labels()) == 13, timeout=20 * FILTER_DELAY_MS)
    assert table.count.text() == "13 of 40"
    QTest.keyClicks(table.filter, " area>500")
    QTest.keyClick(table.filter, KEY.Key_Return)
    assert len(table.visible_labels()) < 13


def test_a_filter_and_an_order_work_together(table):
    table.set_filter("nucleus")
    click_header(table, "area")
    frame = objects().query("concept == 'nucleus'").sort_values("area", kind="stable")
    assert table.visible_labels() == tuple(frame["index"])


# selecting


def test_a_click_selects_and_says_so_once(table, said):
    click(table, 2)
    assert said == [(3,)]
    assert table.selected_labels() == (3,)


def test_control_and_shift_select_more(table, said):
    click(table, 1)
    click(table, 3, SHIFT)
    click(table, 5, CONTROL)
    assert said[-1] == (2, 3, 4, 6)
    click(table, 2, CONTROL)
    assert said[-1] == (2, 4, 6)


def test_arrows_select(table, said):
    click(table, 0)
    press(table, KEY.Key_Down)
    press(table, KEY.Key_Down, SHIFT)
    assert said == [(1,), (2,), (2, 3)]


def test_all_can_be_selected_and_are_told_once(make):
    table, heard = make(objects(20_000)), []
    table.selected.connect(heard.append)
    press(table, KEY.Key_A, CONTROL)
    assert heard == [tuple(range(1, 20_001))]


def test_all_are_those_that_the_filter_leaves(table, said):
    table.set_filter("nucleus")
    press(table, KEY.Key_A, CONTROL)
    assert said == [tuple(range(3, 41, 3))]


def test_all_can_be_selected_after_many_scattered_ones(make):
    table, heard = make(objects(8_000)), []
    table.select(range(1, 8_001, 2))
    table.selected.connect(heard.append)
    press(table, KEY.Key_A, CONTROL)
    assert [len(labels) for labels in heard] == [8_000]


def test_what_a_program_selects_is_not_told(table, said):
    table.select([4, 2, 999])
    table.move(1)
    table.select([])
    table.set_filter("nucleus")
    table.show(objects(12))
    assert said == []


def test_selecting_scrolls_only_if_it_may(table):
    table.select([35], scroll=False)
    assert table.view.top_row() == 0
    table.select([35])
    assert table.view.top_row() > 0
    assert table.selected_labels() == (35,)


def test_selecting_never_scrolls_sideways(table):
    bar = table.view.horizontalScrollBar()
    bar.setValue(bar.maximum())
    assert bar.value() > 0
    table.select([35])
    table.move(-3)
    assert bar.value() == bar.maximum()


@examples(25)
@given(st.sets(st.integers(1, 30)))
def test_what_is_selected_is_read_back(qapp, wanted):
    table = ObjectTable()
    table.show(objects(30))
    table.model.sort_by("score")
    table.select(wanted)
    assert set(table.selected_labels()) == wanted
    assert [label for label in table.visible_labels() if label in wanted] == list(
        table.selected_labels()
    )
    table.deleteLater()


def test_moving_steps_through_rows_and_stops_at_the_ends(table):
    click_header(table, "area")
    labels = table.visible_labels()
    assert [table.move(1), table.move(1), table.move(-1)] == [labels[0], labels[1], labels[0]]
    assert [table.move(-5), table.move(1000)] == [labels[0], labels[-1]]
    assert table.selected_labels() == (labels[-1],)


def test_moving_goes_on_from_where_the_user_clicked(table):
    click(table, 4)
    assert table.move(1) == 6


def test_shift_starts_from_where_a_program_went(table, said):
    click(table, 1)
    table.move(5)
    press(table, KEY.Key_Down, SHIFT)
    assert said[-1] == (7, 8)
    table.select([3, 5])
    press(table, KEY.Key_Down, SHIFT)
    assert said[-1] == (3, 4)


def test_who_hears_of_a_choice_may_show_another_frame(table):
    frames = iter([objects(60), objects(30).assign(seen=True), objects(20)])
    table.selected.connect(lambda _labels: table.show(next(frames)))
    for row in (4, 6, 8):
        click(table, row)
        assert table.selected_labels() == (row + 1,)
    press(table, KEY.Key_Home)
    assert table.view.verticalHeader().count() == 20


def test_who_has_not_chosen_starts_on_top_of_a_new_order(table):
    table.view.setFocus()
    click_header(table, "area")
    click_header(table, "area")
    assert table.move(1) == table.visible_labels()[0]


def test_a_row_that_leaves_the_filter_is_followed_by_the_one_in_its_place(table):
    table.set_filter("state=unreviewed")
    first, second, third, *_ = table.visible_labels()
    table.select([second])
    frame = objects()
    frame.loc[frame["index"] == second, "state"] = "accepted"
    table.show(frame)
    assert table.selected_labels() == ()
    assert table.move(1) == third
    table.select([second, third])
    frame.loc[frame["index"] == third, "state"] = "rejected"
    table.show(frame)
    assert table.move(-1) == first


def test_a_filter_that_hides_what_is_selected_says_what_is_left(table, said, qtbot):
    table.select([3, 4])
    QTest.keyClicks(table.filter, "nucleus")
    QTest.keyClick(table.filter, KEY.Key_Return)
    assert said == [(3,)]
    assert table.selected_labels() == (3,)


@pytest.mark.parametrize("key", [KEY.Key_Return, KEY.Key_Enter])
def test_enter_opens_the_current_row(table, key):
    opened = []
    table.opened.connect(opened.append)
    click(table, 6)
    press(table, key)
    assert opened == [7]


def test_a_double_click_opens_a_row(table):
    opened = []
    table.opened.connect(opened.append)
    place = table.view.visualRect(table.model.index(3, 2)).center()
    QTest.mouseClick(table.view.viewport(), Qt.MouseButton.LeftButton, NONE, place)
    QTest.mouseDClick(table.view.viewport(), Qt.MouseButton.LeftButton, NONE, place)
    assert opened == [4]


# what a new frame keeps


def test_a_changed_cell_moves_nothing(table):
    table.resize(260, 160)
    table.view.scrollToBottom()
    for bar in (table.view.verticalScrollBar(), table.view.horizontalScrollBar()):
        bar.setValue(bar.maximum() - 3)
    before = [
        bar.value() for bar in (table.view.verticalScrollBar(), table.view.horizontalScrollBar())
    ]
    table.select([2, 30], scroll=False)
    table.show(objects(concept="something else"))
    assert before == [
        bar.value() for bar in (table.view.verticalScrollBar(), table.view.horizontalScrollBar())
    ]
    assert min(before) > 0
    assert table.selected_labels() == (2, 30)
    assert set(shown(table, "concept")) == {"something else"}


def test_a_new_frame_keeps_selection_current_row_order_and_filter(table):
    click_header(table, "score")
    table.set_filter("cell")
    table.select([4, 8, 25])
    current = table.view.currentIndex().row()
    assert table.visible_labels()[current] in (4, 8, 25)
    label = table.visible_labels()[current]
    frame = objects(60).drop(index=7).sample(frac=1, random_state=1).assign(new=1.0)
    table.show(frame)
    left = frame.query("concept == 'Cell body'").sort_values(["score", "index"], kind="stable")
    assert table.visible_labels() == tuple(left["index"])
    assert sorted(table.selected_labels()) == [4, 25]
    if label != 8:
        assert table.visible_labels()[table.view.currentIndex().row()] == label
    assert table.filter.text() == "cell"
    assert titles(table)[-1] == "new"


def test_the_first_row_in_sight_stays_when_rows_above_go(make):
    table = make(objects(200))
    table.view.verticalScrollBar().setValue(50)
    table.show(objects(200).drop(index=[3, 4, 5]))
    assert table.visible_labels()[table.view.top_row()] == 51
    table.view.verticalScrollBar().setValue(0)
    table.show(objects(200))
    assert table.view.top_row() == 0


def test_a_column_more_or_less_keeps_scroll_widths_and_order(make):
    table = make(objects(200))
    table.view.setColumnWidth(section(table, "concept"), 133)
    table.view.verticalScrollBar().setValue(50)
    table.model.sort_by("area")
    table.view.verticalScrollBar().setValue(60)
    table.show(objects(200).drop(columns="score"))
    assert table.view.columnWidth(section(table, "concept")) == 133
    assert table.view.top_row() == 60
    table.show(objects(200).drop(columns="area"))
    assert table.visible_labels() == tuple(range(1, 201))
    table.show(objects(200))
    assert titles(table)[section(table, "area")] == "Area ▲"


def test_the_table_grows_and_shrinks(table):
    for count in (3, 0, 50, 1):
        table.show(objects(count))
        table.grab()
        assert table.view.model().rowCount() == table.view.verticalHeader().count() == count


def test_without_a_frame_show_is_that_of_qt(qtbot):
    table = ObjectTable()
    qtbot.addWidget(table)
    table.show()
    assert table.isVisible()


# keys, menus, copying


@pytest.fixture
def around(qtbot, make):
    """A table in a window that notes the keys it is left."""

    class Around(QWidget):
        def __init__(self):
            super().__init__()
            self.left = []

        def keyPressEvent(self, event):  # noqa: N802 - Qt's name
            self.left.append(event.key())

    window = Around()
    qtbot.addWidget(window)
    window.table = make()
    QVBoxLayout(window).addWidget(window.table)
    window.show()
    qtbot.waitExposed(window)
    return window


@pytest.mark.parametrize("key", "GHJKU")
def test_review_keys_are_left_to_the_window(around, key):
    click(around.table, 1)
    QTest.keyClick(around.table.view, key)
    assert around.left == [ord(key)]
    assert around.table.selected_labels() == (2,)


def test_undo_is_left_to_the_window(around):
    press(around.table, KEY.Key_Z, CONTROL)
    assert KEY.Key_Z in around.left


def test_a_shortcut_of_the_window_works_while_the_table_has_the_focus(around, qtbot):
    heard = []
    for keys in ("J", "Ctrl+Z"):
        shortcut = QShortcut(QKeySequence(keys), around)
        shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        shortcut.activated.connect(lambda keys=keys: heard.append(keys))
    around.activateWindow()
    qtbot.waitUntil(around.isActiveWindow)
    around.table.view.setFocus()
    press(around.table, KEY.Key_J)
    press(around.table, KEY.Key_Z, CONTROL)
    assert heard == ["J", "Ctrl+Z"]


def test_copying_gives_a_spreadsheet_its_rows(make):
    frame = objects(3, concept=["a\tb", None, "c"], score=[0.123456789, np.nan, 1.0])
    table = make(frame.drop(columns=["engine", "overlaps"]))
    table.hide_columns(["area"])
    table.select([1, 2])
    press(table, KEY.Key_C, CONTROL)
    lines = QGuiApplication.clipboard().text().split("\n")
    assert lines == [
        "Label\tScore\tConcept\tState",
        '1\t0.123456789\t"a\tb"\taccepted',
        "2\t\t\trejected",
        "",
    ]


def test_copying_heeds_order_and_filter(table):
    click_header(table, "area")
    click_header(table, "area")
    table.set_filter("nucleus")
    press(table, KEY.Key_A, CONTROL)
    table.copy()
    rows = QGuiApplication.clipboard().text().splitlines()[1:]
    assert tuple(int(row.split("\t")[0]) for row in rows) == table.visible_labels()


def test_copying_nothing_leaves_the_clipboard(table):
    QGuiApplication.clipboard().setText("mine")
    table.copy()
    assert QGuiApplication.clipboard().text() == "mine"
    assert not table.row_menu().actions()[0].isEnabled()


def test_a_right_click_keeps_what_is_selected(table, said):
    click(table, 1)
    click(table, 3, CONTROL)
    click(table, 3, button=Qt.MouseButton.RightButton)
    assert table.selected_labels() == (2, 4)


def test_columns_are_hidden_and_shown_from_the_menu(table):
    actions = {action.text(): action for action in table.column_menu().actions()}
    assert "Label" not in actions
    actions["Score"].trigger()
    assert table.hidden_columns() == ("score",)
    assert table.view.isColumnHidden(section(table, "score"))
    table.show(objects(5).assign(new=1))
    assert table.view.isColumnHidden(section(table, "score"))
    actions = {action.text(): action for action in table.column_menu().actions()}
    assert not actions["Score"].isChecked()
    actions["Score"].trigger()
    assert table.hidden_columns() == ()
    assert table.view.columnWidth(section(table, "score")) > 20


def test_menus_open_where_they_are_asked_for(table, qtbot):
    table.view.horizontalHeader().customContextMenuRequested.emit(QPoint(5, 5))
    table.view.customContextMenuRequested.emit(QPoint(5, 5))
    from qtpy.QtWidgets import QMenu

    menus = table.findChildren(QMenu)
    assert [menu.actions()[0].text() for menu in menus] == ["Score", "Copy selected rows"]
    for menu in menus:
        menu.close()


def test_the_label_cannot_be_hidden(table):
    table.hide_columns(["index", "area"])
    assert table.hidden_columns() == ("area",)
