"""A typed text is cut into concepts, one a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.core.concepts import split_concepts


@pytest.mark.parametrize(
    ("typed", "concepts"),
    [
        ("", ()),
        (" \n\t\n", ()),
        ("nucleus", ("nucleus",)),
        ("nucleus\ncell wall", ("nucleus", "cell wall")),
        ("\n  nucleus \r\n\n\tcell\n", ("nucleus", "cell")),
        ("nucleus\nNucleus\n NUCLEUS\ncell", ("nucleus", "cell")),
        ("Straße\nSTRASSE", ("Straße",)),
        ("one\u2028two\x0bthree", ("one", "two", "three")),
    ],
)
def test_each_line_is_a_concept_and_each_concept_is_named_once(typed, concepts):
    assert split_concepts(typed) == concepts


def test_several_texts_are_as_several_lines():
    assert split_concepts("nucleus", "cell\nNucleus", "") == ("nucleus", "cell")


@given(st.lists(st.text(max_size=6), max_size=6))
def test_splitting_what_was_split_changes_nothing(texts):
    once = split_concepts(*texts)
    assert split_concepts("\n".join(once)) == once
    assert all(concept == concept.strip() != "" for concept in once)
