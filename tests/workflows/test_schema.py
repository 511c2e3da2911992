"""Records are judged as their JSON Schema says, whoever reads it."""

from __future__ import annotations

import copy
import json
import random
from importlib import resources

import jsonschema

from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.provenance import SCHEMA, check_record
from napari_sam3.workflows.record_shape import published_schema

from .test_provenance import record_of

ODD = (None, True, -1, 0, 0.5, 7, 10**10, "", "x", "0" * 64, [], [1], ["a", 0, 0], {}, {"a": 1})


PUBLISHED = resources.files("napari_sam3.workflows").joinpath("provenance.schema.json")


def test_the_published_schema_is_that_of_this_version():
    # after a change: python -m napari_sam3.workflows.record_shape
    assert PUBLISHED.read_text("utf-8") == published_schema()
    schema = json.loads(published_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"].startswith("urn:")
    assert schema["properties"]["schema"]["const"] == SCHEMA


def places(value, way=()):
    yield way
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, item in items:
        if isinstance(item, dict | list):
            yield from places(item, (*way, name))
        else:
            yield (*way, name)


def fits(check, value):
    try:
        check(value)
    except ProvenanceError:
        return False
    return True


def test_what_is_changed_in_a_record_is_judged_as_the_schema_does():
    validator = jsonschema.Draft202012Validator(json.loads(published_schema()))
    rng = random.Random(7)
    record = record_of()
    judged = {True: 0, False: 0}
    for *way, last in [place for place in places(record) if place]:
        changed = copy.deepcopy(record)
        inner = changed
        for step in way:
            inner = inner[step]
        for value in [*rng.sample(ODD, 4), ...]:
            if value is ...:
                del inner[last]
            else:
                inner[last] = value
            is_fit = fits(check_record, changed)
            # what a prompt must say beyond the kinds of its values is in no schema
            is_valid = validator.is_valid(changed) and (is_fit or "prompt" not in (*way, last))
            assert is_fit == is_valid, (way, last, value)
            judged[is_fit] += 1
    assert min(judged.values()) > 50
