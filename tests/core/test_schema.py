"""What lies in a file is taken for nothing but what it says."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from typing import Literal

import pytest

from napari_sam3.core.schema import Listed, Schema, parse, printable


@dataclass(frozen=True, slots=True)
class Spot(Listed):
    row: int
    col: float

    def __post_init__(self):
        if self.row < 0:
            raise ValueError("There is no such row.")


@dataclass(frozen=True, slots=True)
class Path:
    kind: Literal["path"] = "path"
    spots: tuple[Spot, ...] = ()
    names: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    kind: Literal["nothing"] = "nothing"


@dataclass(frozen=True, slots=True)
class Whole:
    paths: tuple[Path, ...]
    is_done: bool = False


SCHEMA = Schema(Whole)
KINDS = Schema(Path | Nothing)


def test_what_is_written_is_read_again():
    whole = Whole((Path(spots=(Spot(1, 2.5),), names={"a": 1}),), True)
    said = SCHEMA.to_json(whole)
    assert said["paths"][0]["spots"] == [[1, 2.5]]
    assert SCHEMA.read(said) == whole
    assert KINDS.read(KINDS.to_json(Nothing())) == Nothing()


def test_what_nobody_knows_is_passed_over():
    assert SCHEMA.read({"paths": [], "later": {"any": [1]}}) == Whole(())


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"paths": [{"spots": [[1, 2], [1.0, 2]]}]}, "paths[0].spots[1][0]"),
        ({"paths": [{"spots": [[1, 2], [True, 2]]}]}, "paths[0].spots[1][0]"),
        ({"paths": [{"spots": [["1", 2]]}]}, "paths[0].spots[0][0]"),
        ({"paths": [{"spots": [[1, "2"]]}]}, "paths[0].spots[0][1]"),
        ({"paths": [{"spots": [[1, float("inf")]]}]}, "paths[0].spots[0][1]"),
        ({"paths": [{"spots": [[1, float("nan")]]}]}, "paths[0].spots[0][1]"),
        ({"paths": [{"spots": [[1]]}]}, "paths[0].spots[0][1]"),
        ({"paths": [{"spots": [[1, 2, 3]]}]}, "paths[0].spots[0]"),
        ({"paths": [{"spots": [[0, 0], [-1, 0]]}]}, "paths[0].spots[1]: There is no such row"),
        ({"paths": [{}, {"names": {"one": "1"}}]}, "paths[1].names.one"),
        ({"paths": [], "is_done": 1}, "is_done"),
        ({"is_done": True}, "paths: it is missing"),
        ([], "the top"),
    ],
)
def test_a_misfit_is_named_with_its_place(value, place):
    with pytest.raises(ValueError, match=r"^at ") as error:
        SCHEMA.read(value)
    assert str(error.value).startswith(f"at {place}")


def test_a_misfit_below_a_kind_is_named_without_the_kind():
    with pytest.raises(ValueError, match=r"^at spots\[0\]\[1\]: it is missing$"):
        KINDS.read({"kind": "path", "spots": [[1]]})


def test_a_text_of_a_misfit_moves_no_cursor():
    with pytest.raises(ValueError, match=r"^at ") as error:
        SCHEMA.read({"paths": [{"names": {"\x1b[2J\n" * 500: "x"}}]})
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 300


@pytest.mark.parametrize(
    "value",
    [{"paths": [[]] * 200_000}, {"paths": [{"names": dict.fromkeys(map(str, range(10**5)), "x")}]}],
)
def test_many_misfits_take_no_more_memory_than_one(value):
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^at "):
        SCHEMA.read(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20


def test_half_of_a_character_in_a_name_is_no_reason_to_refuse_the_rest():
    assert SCHEMA.read({"paths": [{"names": {"b\udcff": 3}}]}).paths[0].names == {"b?": 3}


@pytest.mark.parametrize("value", [{"paths": {1, 2}}, {"paths": object()}, {"paths": [b"\xff"]}])
def test_what_is_no_json_value_is_refused(value):
    with pytest.raises(ValueError, match=r"no JSON value|^at "):
        SCHEMA.read(value)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "1" * 30, "1" * 5000])
def test_numbers_that_no_file_has_are_refused(number):
    with pytest.raises(ValueError, match="a number that is too large"):
        parse(f'{{"any": [{number}]}}'.encode())


@dataclass(frozen=True)
class Bare:
    """A part."""

    size: int
    """In pixels."""
    other: int = 3


@dataclass(frozen=True)
class Derived(Bare):
    """Another part."""

    note: str = ""
    """What else
    there is."""


def test_a_published_schema_tells_what_stands_below_each_field():
    schema = Schema(Derived).json_schema()
    assert schema["description"] == "Another part."
    said = {name: part.get("description") for name, part in schema["properties"].items()}
    assert said == {"size": "In pixels.", "other": None, "note": "What else there is."}


def test_more_values_than_allowed_are_refused_unread():
    assert parse(b"[1, 2, 3]", 3) == [1, 2, 3]
    with pytest.raises(ValueError, match="more values"):
        parse(b"[1, 2, 3, 4]", 3)


def test_a_text_is_printed_without_what_moves_the_cursor():
    assert printable("a\x1b[2J\a\r\n\u202eb\ud800ü") == "a [2J    b ü"
