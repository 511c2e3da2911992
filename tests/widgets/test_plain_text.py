"""What others have named, written or answered is shown as it is, and never as markup."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QAbstractItemView, QLabel, QWidget

from napari_sam3.errors import EngineError
from napari_sam3.widgets._plain_text import plain_label, plain_tooltip

from .objects_room import EDGE, LARGE, labels_on_record, solid

MARKUP = '<b>stranger</b> & <img src="file:///tmp/x.png">'
MANY = f"{MARKUP}\n{'long words ' * 30}\n  indented"


def shown(text, text_format=Qt.TextFormat.AutoText):
    """Return what Qt shows of a text."""
    is_rich = Qt.mightBeRichText(text)
    if text_format == Qt.TextFormat.PlainText or (
        text_format == Qt.TextFormat.AutoText and not is_rich
    ):
        return text
    document = QTextDocument()
    document.setHtml(text)
    return document.toPlainText()


def texts_of(widget):
    """Yield where a widget and what it holds show a text that Qt may take for markup, and it."""
    for each in [widget, *widget.findChildren(QWidget)]:
        name = f"{type(each).__name__} {each.objectName()}"
        yield f"tooltip of {name}", shown(each.toolTip())
        for action in each.actions():
            yield f"action of {name}", shown(action.toolTip())
        if isinstance(each, QLabel):
            yield f"text of {name}", shown(each.text(), each.textFormat())
        if isinstance(each, QAbstractItemView):
            for place, tip in _tips(each.model()):
                yield f"{place} of {name}", shown(tip)


def _tips(model):
    role = Qt.ItemDataRole.ToolTipRole
    for column in range(model.columnCount()):
        yield "title", str(model.headerData(column, Qt.Orientation.Horizontal, role) or "")
        for row in range(model.rowCount()):
            yield "cell", str(model.data(model.index(row, column), role) or "")


def strangers_in(widget):
    """Return where a stranger's words are shown; fail where they are taken for markup."""
    found = [(place, text) for place, text in texts_of(widget) if "stranger" in text]
    for place, text in found:
        # a name may be shortened, but not drawn in bold
        assert "<b>stranger</b>" in text, place
    return {place.partition(" of ")[0] for place, _ in found}


@pytest.mark.parametrize("words", [MARKUP, MANY, "plain", "a < b & c > d", "&lt;b&gt;", ""])
def test_a_tooltip_and_a_label_show_words_as_they_are(qtbot, words):
    assert shown(plain_tooltip(words)) == words
    label = plain_label(words)
    qtbot.addWidget(label)
    assert shown(label.text(), label.textFormat()) == words


def test_the_segment_panel_takes_no_words_for_markup(viewer, panel, run, paid_engine, settle):
    viewer.layers["cells"].name = MARKUP
    viewer.dims.axis_labels = (MARKUP, "x")
    panel.form.engine.value = "paid"
    panel.form.text.value = MARKUP
    run("concept")
    places = strangers_in(panel)
    assert "cell" in places
    paid_engine.error = EngineError(f"The service said: {MARKUP}")
    panel.form.text.value = f"{MARKUP} again"
    assert MARKUP in run("concept")
    panel.hosted.state.setText(MARKUP)
    places |= strangers_in(panel)
    assert places == {"cell", "tooltip", "text"}


def test_the_objects_panel_takes_no_words_for_markup(viewer, objects, still):
    layer = labels_on_record({1: solid(LARGE, 0.9, MARKUP), 2: solid(EDGE, 0.7, MANY)}, MARKUP)
    layer.features = layer.features.assign(**{MARKUP: MARKUP})
    viewer.add_layer(layer)
    objects.form.labels.value = layer
    still()
    table = objects.form.table
    table.filter.setText(f"{MARKUP} > 3")
    table.filter.returnPressed.emit()
    objects.form.show_scores([(MARKUP, MARKUP, MARKUP)])
    places = strangers_in(objects)
    table.filter.setText("")
    table.filter.returnPressed.emit()
    assert places | strangers_in(objects) == {"cell", "title", "tooltip", "text", "action"}
