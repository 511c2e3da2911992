"""Records of how labels were made, on the command line: make them again, cite them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import urlsplit

import numpy as np
import typer
from rich.table import Table

from napari_sam3.cli.hosted import confirmation, hosted_options, tell_unstored, with_limits
from napari_sam3.cli.options import Cap, Fresh, PayAgain, Project, Url, Yes
from napari_sam3.cli.parsing import TypedPlane, parse_plane
from napari_sam3.cli.telling import errors_of_strangers, print_table, tell
from napari_sam3.core.drift import Drift, compare_labels
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import describe, prompt_from_json
from napari_sam3.errors import CancelledError, ImageError, ProvenanceError

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3.core.instances import Instances
    from napari_sam3.core.pictures import Picture
    from napari_sam3.engines.base import Engine
    from napari_sam3.engines.segmind.options import SegmindOptions
    from napari_sam3.jobs.estimate import Estimate
    from napari_sam3.jobs.records import Records
    from napari_sam3.workflows.replay import QuestionId, Stored

TOO_LARGE = "What the record is about does not fit in memory."

DRIFTED = 3
"""Exit code where the labels are not what the record says."""

ALTERED = (
    "The record was altered after it was written: what it says of {count} of its requests "
    "(prompt, settings, engine or image) does not match their SHA-256."
)

UNCHECKED = "The labels that were there before the first run cannot be checked."

Run = Mapping[str, Any]
RecordPath = Annotated[
    Path,
    typer.Argument(metavar="RECORD", help="The .json beside a label image, or the label image."),
]


def cite(record: RecordPath) -> None:
    """Print methods, references and licence for a publication."""
    from napari_sam3.workflows.cite import cite as make_citation
    from napari_sam3.workflows.label_files import open_labels
    from napari_sam3.workflows.replay import altered_questions
    from napari_sam3.workflows.sidecars import find_labels, read_sidecar

    with errors_of_strangers(ProvenanceError, TOO_LARGE):
        said = read_sidecar(record)
        found = find_labels(record, said) if "labels" in said else None
        citation = make_citation(said, open_labels(found) if found else None)
    if altered_questions(said):
        typer.echo(ALTERED.format(count=len(altered_questions(said))), err=True)
    # what comes from the record was made printable, line by line
    typer.echo(str(citation))


def replay(
    record: RecordPath,
    image: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE", help="The image, where requests have to be sent again."),
    ] = None,
    plane: Annotated[
        TypedPlane | None,
        typer.Option(
            metavar="T,Z",
            parser=parse_plane,
            help="Which plane of IMAGE, counted from 0; by default the one on record.",
        ),
    ] = None,
    fresh: Fresh = False,
    yes: Yes = False,
    pay_again: PayAgain = False,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="IOU", help="Lowest IoU of an object with the recorded one."
        ),
    ] = 0.99,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the rebuilt labels.")
    ] = None,
    url: Url = None,
    cap: Cap = None,
    project: Project = None,
) -> None:
    """Rebuild labels from their record, and compare them.

    Results in the cache give the same labels to the last pixel, at no cost.  Others are
    requested again, which needs the image and may cost money.  Exit code 3: an object differs
    by more than the tolerance, vanished or appeared.
    """
    from napari_sam3.jobs.records import open_records
    from napari_sam3.workflows.files import check_label_path, save_labels
    from napari_sam3.workflows.paths import kind_at

    with errors_of_strangers(ProvenanceError, TOO_LARGE):
        if output is not None:
            check_label_path(output)
            if kind_at(output) != "nothing":
                raise ImageError(f"{output} exists already; choose another --output.")
        confirm = partial(confirmation, yes=yes, pay_again=pay_again)
        play = _Play(record, image, plane, url, confirm)
        records = with_limits(open_records(project=project), cap)
        is_within = play.again(records, fresh=fresh, tolerance=tolerance)
        if output is not None:
            save_labels(output, play.rebuilt)
            tell(f"→ {output}")
    if not is_within:
        raise typer.Exit(DRIFTED)


class _Play:
    """One record, what lies beside it, and what is made of it."""

    rebuilt: npt.NDArray[Any]

    def __init__(
        self,
        path: Path,
        image: Path | None,
        plane: TypedPlane | None,
        url: str | None,
        confirm: Callable[[Records, str], Callable[[Estimate], bool]],
    ) -> None:
        from napari_sam3.workflows.label_files import open_labels
        from napari_sam3.workflows.provenance import was_answered
        from napari_sam3.workflows.replay import (
            MAX_PIXELS,
            altered_questions,
            is_of_pictures_only,
            without_own,
        )
        from napari_sam3.workflows.sidecars import find_labels, read_sidecar

        self.record = read_sidecar(path)
        if not self.record["runs"]:
            raise ProvenanceError(f"{path} holds no run: there is nothing to rebuild.")
        if is_of_pictures_only(self.record):
            raise ProvenanceError(
                f"{path} is of overlay pictures only: there are no labels to rebuild."
            )
        self._image, self._plane, self._url, self._confirm = image, plane, url, confirm
        self._answered = {
            (run["id"], index): (run, question)
            for run in self.record["runs"]
            for index, question in enumerate(run["questions"])
            if was_answered(question)
        }
        if altered := altered_questions(self.record):
            raise ProvenanceError(f"{ALTERED.format(count=len(altered))} It is not used.")
        self._pictures: dict[str, Picture] = {}
        self._engines: dict[str, Engine] = {}
        self._told: list[str] = []
        found = find_labels(path, self.record) if "labels" in self.record else None
        self._file = found
        self._labels = open_labels(found) if found else None
        if self._labels is not None and list(self._labels.shape) != self.record["layer"]["shape"]:
            raise ProvenanceError(
                f"{found} has the shape {self._labels.shape}, so it is not the label image that "
                "the record is about."
            )
        self._max_pixels = MAX_PIXELS if self._labels is None else self._labels.size
        self._base = None
        if self.record["began"] == "labels":
            if self._labels is None:
                raise ProvenanceError(
                    "There were labels before the first run, and the label image is not here: "
                    "put it beside its record."
                )
            self._base = without_own(self.record, self._labels)

    def again(self, records: Records, *, fresh: bool, tolerance: float) -> bool:
        """Make the labels again and tell of it; return whether they are as they were."""
        from napari_sam3.jobs.records import open_cache
        from napari_sam3.workflows.replay import rebuild, stored_answers

        # looked up even where nothing new is to be stored
        stored = stored_answers(self.record, open_cache())
        for notice in stored.notices:
            tell(notice, err=True)
        if not fresh and not stored.missing:
            self.rebuilt = rebuild(self.record, stored.answers, self._base, self._max_pixels)
            is_uncovered = self._tell_before(stored.answers, tolerance)
            return self._tell_rebuilt(tolerance) and is_uncovered
        answers = self._asked_again(stored, records, fresh=fresh)
        tell_unstored(self._tell_once)
        if not fresh:
            # those of other questions may have been replaced by newer ones
            answers |= stored.answers
        return self._tell_asked(stored, answers, tolerance)

    def _asked_again(
        self, stored: Stored, records: Records, *, fresh: bool
    ) -> dict[QuestionId, Instances]:
        from napari_sam3.workflows.reasking import estimate_again, iter_asked_again

        if self._image is None:
            total = len(self._answered)
            lacking = f"{len(stored.missing)} of {total} results are not in the cache; they have"
            raise ProvenanceError(
                f"{'The requests have' if fresh else lacking} to be sent again: name the image "
                "with --image."
            )
        asked = {run["id"]: run for run, _ in self._answered.values()}
        # all of them are looked at before anything is paid for
        self._engines = {name: self._engine(run) for name, run in asked.items()}

        def engine(run: Run) -> Engine:
            return self._engines[run["id"]]

        newer_than = time.time() if fresh else 0.0
        expected = estimate_again(
            self.record, self._picture, engine, records, newer_than=newer_than
        )
        if expected.calls:
            self._agree(expected, asked.values(), records)
        steps = iter_asked_again(
            self.record,
            self._picture,
            engine,
            records.counted(lambda accounts: accounts.as_one_run()),
            lambda _: True,
            newer_than=newer_than,
            on_notice=self._tell_once,
        )
        return drain(steps)

    def _picture(self, run: Run) -> Picture:
        from napari_sam3.workflows.reasking import picture_of

        # many runs on one plane have one picture
        sha256 = run["picture"].get("sha256") or ""
        if sha256 not in self._pictures:
            image = cast(Path, self._image)
            self._pictures[sha256] = picture_of(self.record, run, image, self._plane)
        return self._pictures[sha256]

    def _agree(self, expected: Estimate, runs: Iterable[Run], records: Records) -> None:
        """Ask once for all runs: each alone may cost too little to be asked about."""
        hosted = next(run for run in runs if run["engine"]["name"] == "segmind")
        if not self._confirm(records, self._hosted(hosted).url)(expected):
            raise CancelledError("Nothing was sent.")

    def _hosted(self, run: Run) -> SegmindOptions:
        from napari_sam3.core.schema import printable

        parameters = run["engine"].get("parameters") or {}
        most = parameters.get("max_side", 2048)
        if type(most) is not int:
            raise ProvenanceError(
                f"The record cannot be replayed: its max_side is {most!r:.40}, which is no "
                "whole number."
            )
        answer = parameters.get("answer")
        options = hosted_options(
            # what is not typed is what is set, whatever the record says
            self._url,
            answer if answer in ("separate masks", "overlay") else "mask",
            printable(str(parameters.get("image_format", "png"))),
            most,
        )
        if self._url is None:
            _require_same_service(str(parameters.get("service") or ""), options.url)
        return options

    def _engine(self, run: Run) -> Engine:
        from napari_sam3.engines.creating import create_engine

        said = run["engine"]
        parameters = said.get("parameters") or {}
        name = said["name"]
        engine = create_engine(name, self._hosted(run) if name == "segmind" else None)
        if said.get("model") not in (None, engine.model):
            self._tell_once(
                f"The record is of the model {said['model']}; now it is {engine.model}."
            )
        now = dict(engine.parameters)
        changed = [key for key in parameters if parameters[key] != now.get(key)]
        if changed:
            self._tell_once(
                "The engine has other options than on record: "
                + ", ".join(f"{key} {now.get(key)}, not {parameters[key]}" for key in changed)
                + "."
            )
        return engine

    def _tell_once(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.append(sentence)
            tell(sentence, err=True)

    def _tell_before(self, answers: Mapping[QuestionId, Instances], tolerance: float) -> bool:
        """Say what labels from before hide; return whether the objects are seen all the same."""
        from napari_sam3.workflows.replay import rebuild

        if self._base is None:
            return True
        tell(UNCHECKED)
        # the base is what is no label of the record, so it may as well be of later
        alone = rebuild(self.record, answers, None, self._max_pixels)
        covered = (alone > 0) & (self._base > 0)
        count = int(np.count_nonzero(covered))
        if not count:
            return True
        tell(
            f"{count} pixels of the record's objects lie under other labels, which were there "
            "before or were painted over them since:"
        )
        drift = compare_labels(alone, np.where(covered, 0, alone))
        _print_drifts({"objects": drift}, tolerance)
        return drift.is_within(tolerance)

    def _tell_rebuilt(self, tolerance: float) -> bool:
        """Say how the labels of stored answers compare with what was saved."""
        is_saved = self._tell_whether_identical()
        if is_saved is None:
            return True
        if not is_saved:
            tell("They were edited, or a run was undone, before they were saved.")
        if self._labels is None:
            return is_saved
        was_changed = self._was_file_changed()
        if is_saved and not was_changed:
            return True
        if was_changed:
            tell(f"But {self._file} was changed since. Compared with it as it is now:")
        drift = compare_labels(self.rebuilt, self._labels)
        _print_drifts({"labels": drift}, tolerance)
        if self._base is not None and was_changed and not is_saved:
            tell("Labels that are not the record's were changed since, or those of its objects.")
            return False
        return drift.is_within(tolerance)

    def _tell_asked(
        self, stored: Stored, answers: Mapping[QuestionId, Instances], tolerance: float
    ) -> bool:
        """Say how new answers compare with those on record."""
        from napari_sam3.workflows.reasking import match_answers
        from napari_sam3.workflows.replay import rebuild

        total = sum(len(run["questions"]) for run in self.record["runs"])
        if lost := total - len(self._answered):
            tell(f"{lost} of {total} requests were never answered, and are left out.")
        matched = match_answers(self.record, stored.answers, answers, self._labels)
        self.rebuilt = rebuild(matched.record, answers, self._base, self._max_pixels)
        if self._base is not None:
            tell(UNCHECKED)
        rows: dict[str, Drift | None] = {}
        for name, (run, question) in self._answered.items():
            words = describe(prompt_from_json(question["prompt"]))
            rows[f"{len(rows) + 1}  {run['time']}  {words}"] = matched.drifts[name]
        _print_drifts(rows, tolerance)
        self._tell_whether_identical()
        return all(drift is not None and drift.is_within(tolerance) for drift in rows.values())

    def _tell_whether_identical(self) -> bool | None:
        """Say whether the labels are those that were saved; None if none were."""
        from napari_sam3.workflows.sidecars import labels_digest

        saved = self.record.get("labels")
        if saved is None:
            tell("The labels were rebuilt; the record names no label image to compare them with.")
            return None
        is_same = bool(labels_digest(self.rebuilt) == saved["sha256"])
        tell(f"The rebuilt labels are {'identical to' if is_same else 'not'} those on record.")
        if self._labels is None:
            tell("There is no label image beside the record: only the record was compared.")
        return is_same

    def _was_file_changed(self) -> bool:
        from napari_sam3.workflows.sidecars import labels_digest

        assert self._labels is not None
        return bool(labels_digest(self._labels) != self.record["labels"]["sha256"])


def _require_same_service(service: str, url: str) -> None:
    """Refuse to ask another service than the one on record, unless the user named it.

    A record must not decide to whom key and picture go; it may only be compared.
    """
    asked = urlsplit(url).netloc
    if not service.isprintable():
        raise ProvenanceError(f"The record's service is no address: {service!a:.80}.")
    if service not in ("", asked):
        raise ProvenanceError(
            f"The answers on record are from the service at {service}, but {asked} would be "
            f"asked. If {service} is yours, or its users may have your key: "
            f"--url https://{service}. To ask the other one: --url {url}."
        )


def _print_drifts(rows: Mapping[str, Drift | None], tolerance: float) -> None:
    from napari_sam3.core.schema import printable

    table = Table(box=None, pad_edge=False)
    names = ("", "objects", "min IoU", "mean IoU", f"below {tolerance:g}", "vanished", "appeared")
    for name in names:
        table.add_column(name, justify="right" if name else "left")
    for name, drift in rows.items():
        table.add_row(printable(name), *_cells(drift, tolerance))
    known = [drift for drift in rows.values() if drift is not None]
    if len(rows) > 1 and known:
        table.add_row("all", *_cells(sum(known, Drift()), tolerance))
    print_table(table)
    if len(known) < len(rows):
        tell(
            "“?”: the result has changed, and neither the former one nor the label image is "
            "here to compare with."
        )


def _cells(drift: Drift | None, tolerance: float) -> tuple[str, ...]:
    if drift is None:
        return ("?",) * 6
    ious = drift.ious
    shown = (f"{min(ious):.4f}", f"{sum(ious) / len(ious):.4f}") if ious else ("–", "–")
    counts = (drift.below(tolerance), drift.vanished, drift.appeared)
    return (str(drift.objects), *shown, *map(str, counts))
