"""Whatever a stranger's record says, it gives a result or a sentence, and soon."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.core.objects import LabelledObject, Part
from napari_sam3.core.plane_index import PlaneIndex
from napari_sam3.core.store import ObjectStore
from napari_sam3.core.viewing import View
from napari_sam3.errors import ProvenanceError, Sam3Error
from napari_sam3.workflows import sidecars
from napari_sam3.workflows.cite import cite
from napari_sam3.workflows.object_records import record_beside, shown_on_record, with_objects
from napari_sam3.workflows.provenance import prompts_of
from napari_sam3.workflows.reasking import match_answers, picture_of
from napari_sam3.workflows.replay import altered_questions, rebuild, stored_answers
from napari_sam3.workflows.sidecars import is_sidecar, read_sidecar
from tests.tiers import some_of

from .strangers import HOSTILE, SHAPE, altered, full_record, hollowed


def uses_of(path, answers, labels, image):
    """Yield all that is done with a record of a stranger."""
    yield lambda: record_beside(path.with_suffix(".npy"))
    record = read_sidecar(path)
    new = dict(zip(((run["id"], 0) for run in record["runs"]), answers.values(), strict=True))
    yield lambda: cite(record, labels)
    yield lambda: altered_questions(record)
    yield lambda: stored_answers(record, None)
    yield lambda: rebuild(record, new)
    yield lambda: rebuild(record, new, np.zeros(SHAPE, np.uint8))
    yield lambda: match_answers(record, {}, new, labels)
    yield lambda: shown_on_record(record, labels[1], (1,))
    for run in record["runs"]:
        yield lambda run=run: prompts_of(run)
    yield lambda: picture_of(record, record["runs"][0], image)


def use(path, answers, labels, image):
    """Do it all; return how much of it went well."""
    done = 0
    try:
        for act in uses_of(path, answers, labels, image):
            try:
                act()
                done += 1
            except Sam3Error:
                continue
    except Sam3Error:
        return done
    return done


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stranger")
    record, answers, labels = full_record()
    np.save(folder / "x.npy", labels)
    np.save(folder / "image.npy", np.arange(labels.size, dtype=np.float32).reshape(SHAPE))
    path = folder / "x.json"
    return record, path, (answers, labels, folder / "image.npy")


def test_a_record_that_nobody_touched_does_all(stranger):
    record, path, rest = stranger
    path.write_text(json.dumps(record))
    # the picture is another one
    assert use(path, *rest) == len([*uses_of(path, *rest)]) - 1


@pytest.mark.parametrize("value", HOSTILE, ids=str)
def test_a_senseless_number_anywhere_gives_a_result_or_a_sentence(stranger, value):
    record, path, rest = stranger
    for place, other in some_of(altered(record, [value]), HOSTILE.index(value)):
        path.write_text(json.dumps(other))
        try:
            use(path, *rest)
        except Exception as error:
            raise AssertionError(place) from error


def test_nothing_in_the_place_of_anything_gives_a_result_or_a_sentence(stranger):
    record, path, rest = stranger
    for place, other in hollowed(record):
        path.write_text(json.dumps(other))
        try:
            use(path, *rest)
        except Exception as error:
            raise AssertionError(place) from error


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"schema": 1, "runs": [' + "9" * 5_000_000 + "]}", "too large"),
        ('{"schema": 1, "runs": [1e999]}', "too large, or none"),
        ('{"schema": 1, "runs": [NaN]}', "too large, or none"),
        ('{"schema": 1, "runs": [' + "[]," * 20_000_000 + "[]]}", "more values"),
    ],
    ids=["endless number", "infinite", "none", "60 MB of lists"],
)
def test_a_file_that_is_too_much_is_refused_before_it_is_taken_apart(tmp_path, text, why):
    (tmp_path / "x.json").write_text(text)
    assert not is_sidecar(tmp_path / "x.json")
    with pytest.raises(ProvenanceError, match=why):
        read_sidecar(tmp_path / "x.json")


def test_of_many_runs_only_what_they_touched_is_looked_at():
    record, _, _ = full_record()
    record.pop("objects")
    side = 3000
    place = dict(record["runs"][0]["plane"])
    place |= {"shape": [side, side + 1], "index": [0, 0], "shown": [0, 1], "factors": [1.0, 1.0]}
    first = {**record["runs"][0], "plane": place}
    record["layer"] = {"shape": [side, side + 1]}
    record["runs"] = [{**first, "id": f"run {number}"} for number in range(50)]
    item = Instance(np.ones((3, 4), bool), Box(2, 3, 5, 7))
    found = Instances((side, side + 1), (item,))
    tracemalloc.start()
    labels = rebuild(record, {(run["id"], 0): found for run in record["runs"]})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.count_nonzero(labels) == 12
    assert peak < labels.nbytes + (1 << 20)


def test_objects_without_number_at_one_place_are_refused(tmp_path):
    parts = {PlaneIndex((1, 2), (1,)): Part(Instance(np.ones((3, 4), bool), Box(2, 3, 5, 7)))}
    objects = (LabelledObject(label, parts) for label in range(1, 5001))
    record, _, _ = full_record()
    store = ObjectStore(SHAPE, objects)
    # as a file says it: who writes that has not found out which of them give way
    store.intend(View(max_iom=0.5))
    record = with_objects(record, store)
    with pytest.raises(ProvenanceError, match="more objects lie over one another"):
        shown_on_record(record, np.zeros(SHAPE[1:], np.uint16), (1,))


def test_the_limit_of_values_leaves_room_for_twenty_thousand_runs():
    record, _, _ = full_record()
    text = json.dumps(record["runs"][0])
    assert 20_000 * sum(map(text.count, ",[{")) < sidecars.MAX_VALUES
