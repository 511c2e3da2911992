"""What a publication should say of labels, from the record of how they were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from napari_sam3.core.prompts import (
    CombinedPrompt,
    ConceptPrompt,
    Everything,
    ObjectPrompt,
    Prompt,
)
from napari_sam3.errors import ProvenanceError
from napari_sam3.workflows.provenance import image_of, prompts_of
from napari_sam3.workflows.replay import own_labels

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
    "score": "the one with the higher score was shown (without scores, the smaller one)",
    "smallest": "the smaller one was shown",
    "first": "the one found first was shown",
}


@dataclass(frozen=True, slots=True)
class Citation:
    """What to say of labels.

    Parameters
    ----------
    methods : str
        Sentences for the methods section.
    references : tuple of str
    acknowledgements : tuple of str
        What licences ask for.
    """

    methods: str
    references: tuple[str, ...]
    acknowledgements: tuple[str, ...]

    def __str__(self) -> str:
        parts = ["Methods", self.methods, "", "References", *self.references]
        if self.acknowledgements:
            parts += ["", "Acknowledgement", *self.acknowledgements]
        return "\n".join(parts)


def cite(record: Mapping[str, Any]) -> Citation:
    """Return what to say of labels.

    Parameters
    ----------
    record : mapping
        As `napari_sam3.workflows.provenance.check_record` returns it.

    Raises
    ------
    ProvenanceError
        If it holds no run.
    """
    runs = record["runs"]
    if not runs:
        raise ProvenanceError("The record holds no run, so there is nothing to cite.")
    used_sam3 = any(run["engine"]["name"] in SAM3_ENGINES for run in runs)
    used_builtin = any(run["engine"]["name"] == "builtin" for run in runs)
    wanted = {"napari": "napari" in record["software"], "scikit-image": used_builtin}
    sentences = [
        _who(record),
        *_asked(runs),
        *_thresholds(runs),
        _labels(record),
    ]
    return Citation(
        " ".join(sentences),
        (
            *((SAM3_PAPER,) if used_sam3 else ()),
            *(text for name, text in PACKAGES.items() if wanted[name]),
        ),
        (ACKNOWLEDGEMENT,) if used_sam3 else (),
    )


def _who(record: Mapping[str, Any]) -> str:
    own, *others = _versions(record)
    runs = record["runs"]
    names = _distinct(f"“{image_of(record, run)['name']}”" for run in runs)
    engines = _distinct(_engine(run["engine"]) for run in runs)
    return (
        f"Objects in {_listed(names)} were segmented with {own} ({', '.join(others)}) using the "
        f"{_listed(engines)} {_dates(runs)}."
    )


def _versions(record: Mapping[str, Any]) -> list[str]:
    said = [record["software"], *(run.get("software", {}) for run in record["runs"])]
    names = list(dict.fromkeys(name for versions in said for name in versions))
    names.sort(key=lambda name: name != "napari-sam3")
    return [
        f"{'Python' if name == 'python' else name} "
        f"{' and '.join(_distinct(v[name] for v in said if name in v))}"
        for name in names
    ]


def _engine(engine: Mapping[str, Any]) -> str:
    title = engine.get("title") or engine["name"]
    model = f", model {engine['model']}" if engine.get("model") else ""
    return f"engine “{title}” ({engine['name']}{model})"


def _dates(runs: Iterable[Mapping[str, Any]]) -> str:
    moments = [
        question.get("answered_at") or run["time"] for run in runs for question in run["questions"]
    ]
    days = sorted({moment[:10] for moment in moments} or {run["time"][:10] for run in runs})
    return f"on {days[0]}" if len(days) == 1 else f"between {days[0]} and {days[-1]}"


def _asked(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    prompts = [prompt for run in runs for prompt in prompts_of(run)]
    ways = [*_concepts(prompts), *_objects(prompts), *_everything(prompts)]
    return [f"The engine was asked for {_listed(ways)}."] if ways else []


def _concepts(prompts: Iterable[Prompt]) -> list[str]:
    concepts = [p for p in prompts if isinstance(p, ConceptPrompt | CombinedPrompt)]
    ways = []
    for text in _distinct(p.text for p in concepts):
        same = [p for p in concepts if p.text == text]
        signs = [each.positive for p in same for each in p.exemplars]
        clicks = [each.positive for p in same if isinstance(p, CombinedPrompt) for each in p.points]
        given = [
            _count(sum(signs), "positive example"),
            _count(len(signs) - sum(signs), "negative example"),
            _count(sum(clicks), "positive click"),
            _count(len(clicks) - sum(clicks), "negative click"),
        ]
        by = _listed([words for words in given if words])
        named = f"all instances of “{text}”" if text else "all objects like the examples"
        ways.append(f"{named} ({by})" if by else named)
    return ways


def _objects(prompts: Iterable[Prompt]) -> list[str]:
    objects = [p for p in prompts if isinstance(p, ObjectPrompt)]
    if not objects:
        return []
    signs = [point.positive for p in objects for point in p.points]
    given = [
        _count(sum(signs), "positive click"),
        _count(len(signs) - sum(signs), "negative click"),
        _count(sum(p.box is not None for p in objects), "box"),
    ]
    by = _listed([words for words in given if words])
    return [f"single objects ({_count(len(objects), 'question')}, by {by})"]


def _everything(prompts: Iterable[Prompt]) -> list[str]:
    return _distinct(
        f"everything ({p.points_per_side} points per side, predicted IoU of at least {p.min_iou:g})"
        for p in prompts
        if isinstance(p, Everything)
    )


def _thresholds(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    scores = sorted({run["thresholds"]["min_score"] for run in runs} - {0})
    counts = sorted({run["thresholds"]["max_masks"] for run in runs} - {0})
    sentences = []
    if scores:
        least = _listed([f"{score:g}" for score in scores], "or")
        sentences.append(f"Objects were asked for with a score of at least {least}.")
    if counts:
        most = _listed([str(count) for count in counts], "or")
        sentences.append(f"At most {most} objects were asked for at a time, the best ones.")
    return sentences


def _labels(record: Mapping[str, Any]) -> str:
    count = len(own_labels(record))
    rules = _distinct(RULE_WORDS[run["overlap_rule"]] for run in record["runs"])
    return (
        f"{_count(count, 'object') or 'No object'} {'was' if count < 2 else 'were'} labelled; "
        f"where objects of one run overlapped, {_listed(rules, 'or')}."
    )


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("x") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}" if number else ""


def _distinct(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def _listed(words: list[str], conjunction: str = "and") -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}"
