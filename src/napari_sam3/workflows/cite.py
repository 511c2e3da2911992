"""What a publication should say of labels, from the record of how they were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from napari_sam3.core.painting import PaintRule
from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    ObjectPrompt,
    Prompt,
)
from napari_sam3.core.schema import printable
from napari_sam3.engines import engine_info
from napari_sam3.engines.base import Capabilities, Question, Setting
from napari_sam3.engines.segmind.options import DEFAULT_URL, is_loopback
from napari_sam3.errors import EngineUnavailableError, ProvenanceError
from napari_sam3.workflows.provenance import (
    image_of,
    prompts_of,
    slabs_in,
    was_answered,
)
from napari_sam3.workflows.replay import own_labels
from napari_sam3.workflows.reviewed import reviewed
from napari_sam3.workflows.sidecars import labels_digest

_OF_EVERYTHING: frozenset[tuple[Question, Setting]] = frozenset(
    {("everything", "points_per_side"), ("everything", "pred_iou_thresh")}
)

SAM3_ENGINES = ("segmind", "local", "server")
"""Engines behind which the model SAM 3 answers."""

SAM3_PAPER = "SAM 3: arXiv:2511.16719, https://arxiv.org/abs/2511.16719"

# as each package's own description asks to be cited
PACKAGES = {
    "napari": (
        "napari contributors (2019). napari: a multi-dimensional image viewer for python. "
        "doi:10.5281/zenodo.3555620"
    ),
    "scikit-image": (
        "Stéfan van der Walt, Johannes L. Schönberger, Juan Nunez-Iglesias, François Boulogne, "
        "Joshua D. Warner, Neil Yager, Emmanuelle Gouillart, Tony Yu, and the scikit-image "
        "contributors. scikit-image: Image processing in Python. PeerJ 2:e453 (2014) "
        "https://doi.org/10.7717/peerj.453"
    ),
}

ACKNOWLEDGEMENT = (
    "This work used SAM 3 (the SAM Materials) by Meta, made available under the SAM License, "
    "which asks publications to acknowledge its use."
)

RULE_WORDS = {
    "score": "the one with the highest score was kept (without scores, the smallest one)",
    "smallest": "the smallest one was kept",
    "first": "the one found first was kept",
}

SPLIT_MARK = "Split from one mask"
"""In a notice of the hosted engine: the service gave one mask for all objects."""

VENDOR = urlsplit(DEFAULT_URL).netloc

MAX_PICTURES = 4
"""With more ways to show an image than these, none is spelled out."""

Run = Mapping[str, Any]
Service = Literal["none", "vendor", "stand-in", "other"]


@dataclass(frozen=True, slots=True)
class Citation:
    """What to say of labels: sentences, references, what licences ask for.

    The author should read the warnings first, and not print them.
    """

    methods: str
    references: tuple[str, ...]
    acknowledgements: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [*self.warnings, ""] if self.warnings else []
        parts += ["Methods", self.methods, "", "References", *self.references]
        if self.acknowledgements:
            parts += ["", "Acknowledgement", *self.acknowledgements]
        return "\n".join(parts)


def cite(record: Mapping[str, Any], labels: npt.NDArray[Any] | None = None) -> Citation:
    """Return what to say of labels.

    Parameters
    ----------
    record : mapping
        As `napari_sam3.workflows.provenance.check_record` returns it.
    labels : ndarray of int, optional
        The label image beside the record: what is in it counts, and whether it is what the
        record tells of.

    Raises
    ------
    ProvenanceError
        If it holds no run.
    """
    if not record["runs"]:
        raise ProvenanceError("The record holds no run, so there is nothing to cite.")
    answered = [_answered(run) for run in record["runs"]]
    # a run that found only what was labelled already made nothing
    runs = [run for run in answered if _gave(run)] or [r for r in answered if r["questions"]]
    done = reviewed(record)
    services = {_service(run["engine"]) for run in runs}
    used_sam3 = any(_is_sam3(run["engine"]) for run in runs)
    used_builtin = any(run["engine"]["name"] == "builtin" for run in runs)
    wanted = {"napari": "napari" in record["software"], "scikit-image": used_builtin}
    sentences = [
        _who(record, runs or answered),
        *_places(record, runs),
        *_pictures(runs),
        *_asked(runs),
        *_sent(runs),
        *_thresholds(runs),
        *_left_out(record, answered, runs),
        *done.sentences,
        *_labels(record, runs, labels, (_left(record) | done.found) - done.hidden, done.rule),
    ]
    return Citation(
        printable(" ".join(sentences)),
        (
            *((SAM3_PAPER,) if used_sam3 else ()),
            *_own_reference(record),
            *(text for name, text in PACKAGES.items() if wanted[name]),
        ),
        (ACKNOWLEDGEMENT,) if used_sam3 else (),
        (STANDIN_WARNING,) if "stand-in" in services else (),
    )


STANDIN_WARNING = (
    "Not for publication: answers are from a stand-in for the hosted service, on this computer. "
    "It is for tests and teaching; it is not SAM 3, and its labels must not be published."
)


def _answered(run: Run) -> Run:
    return {**run, "questions": [q for q in run["questions"] if was_answered(q)]}


def _gave(run: Run) -> bool:
    return any(question["labels"] for question in run["questions"])


def _service(engine: Mapping[str, Any]) -> Service:
    if engine["name"] != "segmind":
        return "none"
    address = str(_parameter(engine, "service") or VENDOR)
    if address == VENDOR:
        return "vendor"
    try:
        host = urlsplit(f"//{address}").hostname
    except ValueError:
        host = None
    return "stand-in" if is_loopback(host) else "other"


def _is_sam3(engine: Mapping[str, Any]) -> bool:
    return engine["name"] in SAM3_ENGINES and _service(engine) in ("none", "vendor")


def _parameter(engine: Mapping[str, Any], name: str) -> Any:
    return (engine.get("parameters") or {}).get(name)


def _is_overlay(run: Run) -> bool:
    return bool(_parameter(run["engine"], "answer") == "overlay")


def _own_reference(record: Mapping[str, Any]) -> tuple[str, ...]:
    versions = _distinct(v["napari-sam3"] for v in _software(record) if "napari-sam3" in v)
    words = f"napari-sam3, version {' and '.join(versions)} (software)."
    return (printable(words),) if versions else ()


def _who(record: Mapping[str, Any], runs: list[Run]) -> str:
    own, *others = _versions(record) or ["napari-sam3"]
    names = _distinct(f"“{name}”" for run in runs if (name := image_of(record, run)["name"]))
    objects = f"Objects in {_listed(names)}" if names else "Objects"
    engines = _distinct(_engine(run["engine"]) for run in runs)
    drawn = bool(runs) and all(_is_overlay(run) for run in runs)
    done = "marked in a picture for the eye" if drawn else "segmented"
    packages = f"{own} ({', '.join(others)})" if others else own
    return f"{objects} were {done}{_dates(runs)} with {packages} using {_listed(engines)}."


def _software(record: Mapping[str, Any]) -> list[Mapping[str, str]]:
    return [record["software"], *(run.get("software", {}) for run in record["runs"])]


def _versions(record: Mapping[str, Any]) -> list[str]:
    said: dict[str, dict[str, None]] = {}
    for versions in _software(record):
        for name, version in versions.items():
            said.setdefault(name, {})[version] = None
    names = sorted(said, key=lambda name: name != "napari-sam3")
    return [
        f"{'Python' if name == 'python' else name} {' and '.join(said[name])}" for name in names
    ]


def _engine(engine: Mapping[str, Any]) -> str:
    model = f", model {engine['model']}" if engine.get("model") else ""
    title, service = _title(engine), _service(engine)
    if service == "none":
        return f"the engine {title} ({engine['name']}{model})"
    address = _parameter(engine, "service") or VENDOR
    if service == "vendor":
        return f"the hosted service {title} ({engine['name']}{model}, at {address})"
    if service == "stand-in":
        return (
            f"{title} on this computer ({address}), which is for tests and is not the model SAM 3"
        )
    return (
        f"{title} ({engine['name']}{model}), a hosted service that is not at its vendor's own "
        f"address {VENDOR}, so that which model answered is for its operator to say"
    )


def _title(engine: Mapping[str, Any]) -> str:
    service = _service(engine)
    if service == "stand-in":
        return "a stand-in for the hosted service"
    if service == "other":
        return f"the service at {engine['parameters']['service']}"
    return f"“{engine.get('title') or engine['name']}”"


def _dates(runs: list[Run]) -> str:
    moments = [
        question.get("answered_at") or run["time"] for run in runs for question in run["questions"]
    ]
    days = sorted({moment[:10] for moment in moments})
    if not days:
        return ""
    return f" on {days[0]}" if len(days) == 1 else f" between {days[0]} and {days[-1]}"


def _places(record: Mapping[str, Any], runs: list[Run]) -> list[str]:
    """Say which planes of stacks were segmented, and on which level."""
    planes: dict[str, list[str]] = {}
    for run in runs:
        plane = run["plane"]
        index = image_of(record, run).get("plane") or [
            at for axis, at in enumerate(plane["index"]) if axis not in plane["shown"]
        ]
        words = [f"plane {', '.join(map(str, index))}"] if index else []
        thick = [slab.words for slab in slabs_in(run["picture"])]
        words = [_listed(thick)] if thick else words
        words += [f"resolution level {plane['level']}"] if plane["level"] else []
        name = image_of(record, run)["name"]
        if words:
            planes.setdefault(f" of “{name}”" if name else "", []).append(" at ".join(words))
    return [
        f"Segmented {_was(len(words))} {_listed(words)}{name} (counted from 0)."
        for name, words in ((name, _distinct(words)) for name, words in planes.items())
    ]


def _pictures(runs: list[Run]) -> list[str]:
    """Say how values became grey levels or colours."""
    said = _distinct(_mapping(run["picture"]) for run in runs)
    shown = [words for words in said if words]
    if len(shown) > MAX_PICTURES:
        return ["Values were shown in several ways, which are on record for each run."]
    return [f"Shown to the engine were {_listed(shown, 'or')}."] if shown else []


def _mapping(picture: Mapping[str, Any]) -> str:
    if picture["kind"] == "composed":
        layers = [
            f"“{layer.get('name', '')}” "
            f"({', '.join([*(slab.words for slab in slabs_in(layer)), _mapping(layer)])})"
            for layer in picture.get("layers", ())
            if layer.get("contrast_limits")
        ]
        return f"several channels at once: {_listed(layers)}" if layers else "several channels"
    if not picture.get("contrast_limits"):
        return ""
    limits, is_rgb = tuple(picture["contrast_limits"]), picture["kind"] == "rgb"
    is_inverted, gamma = picture.get("inverted"), picture.get("gamma", 1)
    if is_rgb and limits == (0, 255) and gamma == 1 and picture.get("dtype") == "uint8":
        return "colours as they are"
    low, high = (f"{value:.6g}" for value in limits)
    ends = ("white", "black") if is_inverted else ("black", "white")
    noun = "colours" if is_rgb else "values"
    words = f"{noun} from {low} ({ends[0]}) to {high} ({ends[1]}{', inverted' * bool(is_inverted)})"
    return words if gamma == 1 else f"{words} with a gamma of {gamma:.3g}"


def _asked(runs: list[Run]) -> list[str]:
    by_engine: dict[str, list[Run]] = {}
    for run in runs:
        by_engine.setdefault(_title(run["engine"]), []).append(run)
    sentences = []
    for title, own in by_engine.items():
        prompts = [prompt for run in own for prompt in prompts_of(run)]
        can = _capabilities(own[0]["engine"]["name"])
        ways = [*_concepts(prompts, can), *_objects(prompts), *_everything(prompts, can)]
        who = f"{title[:1].upper()}{title[1:]}" if len(by_engine) > 1 else "The engine"
        sentences += [f"{who} was asked for {_listed(ways)}."] if ways else []
    return sentences


def _sent(runs: list[Run]) -> list[str]:
    """Say in which form a hosted service got the picture, and gave its answer."""
    hosted = [run for run in runs if _service(run["engine"]) != "none"]
    sentences = [words for run in hosted if (words := _shrunk(run))]
    if any(_parameter(run["engine"], "image_format") == "jpeg" for run in hosted):
        sentences.append("Pictures were sent as JPEG, which changes them a little.")
    if any(_is_split(run) for run in hosted):
        sentences.append(
            "The service returned one mask for all objects of a request, which was split into its "
            "connected parts, so that objects that touch are one."
        )
    if any(_parameter(run["engine"], "answer") == "separate masks" for run in hosted):
        sentences.append("The service gave a separate mask for each object.")
    if any(_is_overlay(run) for run in hosted):
        sentences.append(
            "The service drew the objects into a picture, of which no labels are made."
        )
    return _distinct(sentences)


def _shrunk(run: Run) -> str:
    most, (rows, cols) = _parameter(run["engine"], "max_side"), run["plane"]["shape"]
    if not isinstance(most, int) or max(rows, cols) <= most:
        return ""
    return (
        f"Pictures of {rows} × {cols} pixels were shrunk to at most {most} pixels a side before "
        "they were sent, and the masks enlarged again."
    )


def _is_split(run: Run) -> bool:
    return any(SPLIT_MARK in notice for notice in run.get("notices", ()))


def _capabilities(engine: str) -> Capabilities:
    try:
        return engine_info(engine).capabilities
    except EngineUnavailableError:
        # another version's engine: all that was asked may have mattered
        return Capabilities(settings=_OF_EVERYTHING)


def _concepts(prompts: Iterable[Prompt], can: Capabilities) -> list[str]:
    by_text: dict[str, list[ConceptPrompt | CombinedPrompt]] = {}
    for prompt in prompts:
        if isinstance(prompt, ConceptPrompt | CombinedPrompt):
            by_text.setdefault(prompt.text, []).append(prompt)
    ways = []
    for text, same in by_text.items():
        signs = [each.positive for p in same for each in p.exemplars]
        clicks = [each.positive for p in same if isinstance(p, CombinedPrompt) for each in p.points]
        by = _listed([*_signed(signs, "example"), *_signed(clicks, "click")])
        named = f"all instances of “{text}”" if text else "all objects like the examples"
        if text and can.words:
            named = f"all objects that fit “{text}” by size, shape and brightness"
        ways.append(f"{named} ({by})" if by else named)
    return ways


def _objects(prompts: Iterable[Prompt]) -> list[str]:
    objects = [p for p in prompts if isinstance(p, ObjectPrompt)]
    if not objects:
        return []
    signs = [point.positive for p in objects for point in p.points]
    given = [
        *_signed(signs, "click"),
        _count(sum(p.box is not None for p in objects), "box"),
        _count(sum(bool(p.outline) for p in objects), "outline"),
        _count(sum(bool(p.proposal) for p in objects), "chosen proposal"),
    ]
    by = _listed([words for words in given if words])
    return [f"single objects ({_count(len(objects), 'request')}, by {by})"]


def _everything(prompts: Iterable[Prompt], can: Capabilities) -> list[str]:
    return _distinct(_ways_of(p, can) for p in prompts if isinstance(p, Everything))


def _ways_of(prompt: Everything, can: Capabilities) -> str:
    """Return what was asked for, with the numbers that the engine heeds."""
    numbers = [f"objects about {prompt.diameter:g} pixels wide"] if prompt.diameter else []
    if can.settings >= _OF_EVERYTHING:
        numbers += [
            f"{prompt.points_per_side} points per side",
            f"predicted IoU of at least {prompt.min_iou:g}",
        ]
    return f"everything ({', '.join(numbers)})" if numbers else "everything"


def _thresholds(runs: list[Run]) -> list[str]:
    scores = sorted({run["thresholds"]["min_score"] for run in runs} - {0})
    counts = sorted({run["thresholds"]["max_masks"] for run in runs} - {0})
    sentences = []
    if scores:
        least = _listed([f"{score:g}" for score in scores], "or")
        sentences.append(f"Only objects with a score of at least {least} were kept.")
    if counts:
        most = _listed([str(count) for count in counts], "or")
        sentences.append(f"At most {most} objects were kept per request, the best ones.")
    return sentences


def _left_out(record: Mapping[str, Any], answered: list[Run], runs: list[Run]) -> list[str]:
    """Say which questions had no part in the labels."""
    total = sum(len(run["questions"]) for run in record["runs"])
    lost = total - sum(len(run["questions"]) for run in answered)
    used = {run["id"] for run in runs}
    rest = [run for run in answered if run["id"] not in used]
    idle = sum(len(run["questions"]) for run in rest if not _is_overlay(run))
    drawn = sum(len(run["questions"]) for run in rest if _is_overlay(run))
    sentences = []
    if lost:
        sentences.append(f"{lost} of {total} requests {_was(lost)} not answered.")
    if idle:
        more = _count(idle, "further request")
        sentences.append(f"{more} added no object that was not labelled already.")
    if drawn:
        sentences.append(f"{_count(drawn, 'further request')} gave an overlay picture only.")
    return sentences


def _labels(
    record: Mapping[str, Any],
    runs: list[Run],
    labels: npt.NDArray[Any] | None,
    own: Set[int],
    rule: PaintRule,
) -> list[str]:
    if labels is None and not own and runs and all(_is_overlay(run) for run in runs):
        return []
    there = own if labels is None else {int(label) for label in np.unique(labels) if label > 0}
    is_edited = labels is not None and _is_edited(record, own, there, labels)
    counted = there if is_edited or not own else there & own
    count, former = len(counted), len(there) - len(counted)
    words = f"{_count(count, 'object') or 'No object'} {_was(count)} labelled"
    if is_edited:
        words = (
            "The labels were afterwards edited by hand, or a run was undone; then "
            f"{_count(count, 'object') or 'no object'} {_was(count)} labelled"
        )
    words += f", beside {former} that had been labelled before" if former else ""
    # the parts of one mask do not overlap
    layered = [r for r in runs if _gave(r) and not (_is_split(r) and len(r["questions"]) == 1)]
    # a view that was chosen afterwards decides in place of the runs
    rules = _distinct(RULE_WORDS[rule or run["overlap_rule"]] for run in layered)
    overlap = f"; where objects overlapped, {_listed(rules, 'or')}" if rules and count > 1 else ""
    return [f"{words}{overlap}."]


def _left(record: Mapping[str, Any]) -> set[int]:
    """Return the labels that the runs gave, and took back by no later one."""
    left: set[int] = set()
    for run in record["runs"]:
        for question in run["questions"]:
            # an object that is refined may be hidden then
            left -= set((question.get("replaced") or {}).values())
        left |= own_labels({"runs": [run]})
    return left


def _is_edited(
    record: Mapping[str, Any], own: Set[int], there: Set[int], labels: npt.NDArray[Any]
) -> bool:
    saved = record.get("labels")
    if saved is not None and labels_digest(labels) != saved["sha256"]:
        return True
    # what was asked is not known of an answer that came late and had been forgotten
    is_accounted = all(run["questions"] for run in record["runs"])
    added = there - own if record["began"] == "empty" else set()
    return is_accounted and bool(own - there or added)


def _was(count: int) -> str:
    return "was" if count < 2 else "were"


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}" if number else ""


def _signed(signs: list[bool], noun: str) -> list[str]:
    counts = (sum(signs), f"positive {noun}"), (len(signs) - sum(signs), f"negative {noun}")
    return [_count(number, words) for number, words in counts if number]


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _listed(words: list[str], conjunction: str = "and") -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
