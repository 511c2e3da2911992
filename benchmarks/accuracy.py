"""How well an engine segments annotated images, and the textbook algorithms beside it.

    python -m benchmarks.accuracy FOLDER --held-out --images 20 --json accuracy.json
    python -m benchmarks.accuracy FOLDER --mnfinder FOLDER --held-out --kinds dapi
    python -m benchmarks.accuracy --pairs IMAGES LABELS

FOLDER holds ``NAME.png``, ``NAME_labels.png`` (0 is background) and ``index.csv`` with
the columns name, kind and suspect; suspect images are skipped.  IMAGES and LABELS are two
files (or stacks), or two folders of them.

Mean IoU of one object from a box, a click (the likeliest answer, and the best of three)
and corrective clicks; F1 at IoU 0.5 and AP (mean of IoU 0.5 … 0.9) of all objects and of
all objects like 1 and 3 examples, the latter also where two kinds of objects are mixed.
In brackets the textbook algorithm that is best for that kind and task.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np

from benchmarks.composed import composed_measures, iter_composed
from benchmarks.contenders import Asked, Builtin, Contenders, Opener
from benchmarks.measuring import Measure, measured
from benchmarks.sources import iter_pairs
from benchmarks.tables import as_json, figures_of, markdown
from napari_sam3 import Sam3Error, create_engine
from napari_sam3.engines.builtin.nets.threads import one_blas_thread
from training.data import Sample, iter_mnfinder, iter_samples
from training.split import was_held_out

Report = Callable[[str], None]


def measure_all(
    samples: Sequence[Sample],
    *,
    images: int,
    objects: int,
    seed: int = 0,
    composed: int = 0,
    opener: Opener = Builtin,
    report: Report = print,
) -> list[Measure]:
    """Put all tasks about some images of each kind to an engine and to the baselines.

    Parameters
    ----------
    samples : sequence of Sample
    images, objects : int
        At most, per kind and per image.
    seed : int
        The same gives the same images and prompts.
    composed : int
        How many images that mix two kinds of objects, for each way in which those differ.
    opener : callable
        Opens an image in the engine.
    report : callable
        Told a line now and then.

    Returns
    -------
    list of Measure
    """
    measures: list[Measure] = []
    with one_blas_thread():
        for sample in drawn(samples, images, seed):
            who = Contenders(sample.image, opener(sample.image))
            # by name, so that an image meets the same prompts whatever else is measured
            measures += measured(sample, who, objects, (seed, crc32(sample.name.encode())))
            report(f"{sample.kind} {sample.name}")
        for number, mixed in enumerate(iter_composed(samples, composed, seed)):
            measures += composed_measures(mixed, opener, (seed, number))
            report(f"{mixed.kind} {number}")
    return measures


def drawn(samples: Sequence[Sample], images: int, seed: int) -> Iterator[Sample]:
    """Yield at most `images` random ones of each kind that have objects."""
    for kind in sorted({sample.kind for sample in samples}):
        own = [sample for sample in samples if sample.kind == kind and sample.labels.any()]
        for index in np.random.default_rng(seed).permutation(len(own))[:images]:
            yield own[index]


def main() -> None:
    """Measure, print the tables, and write the figures down."""
    options = _parser().parse_args()
    try:
        opener = opener_of(options.engine)
    except Sam3Error as error:
        sys.exit(str(error))
    samples = list(chosen(_sources(options), options.kinds, held_out=options.held_out))
    if not samples:
        sys.exit("There is nothing to measure on: no image of these kinds.")
    measures = measure_all(
        samples,
        images=options.images,
        objects=options.objects,
        seed=options.seed,
        composed=options.composed,
        opener=opener,
        report=tell_progress,
    )
    print(markdown(figures_of(measures)))
    if options.json is not None:
        options.json.write_text(json.dumps(as_json(measures), indent=0) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, nargs="?", help="with index.csv, images and labels")
    add("--mnfinder", type=Path, help="its training-data folder")
    add("--pairs", type=Path, nargs=2, action="append", default=[], metavar=("IMAGES", "LABELS"))
    add("--held-out", action="store_true", help="nothing that the nets learned from")
    add("--engine", default="builtin", help="a billed one costs its price for every prompt")
    add("--kinds", nargs="*", help="all by default")
    add("--images", type=int, default=20, help="at most, per kind")
    add("--objects", type=int, default=5, help="per image")
    add("--composed", type=int, default=12, help="images for each way to mix two kinds")
    add("--seed", type=int, default=0)
    add("--json", type=Path, metavar="OUT", help="write all figures and scores to this file")
    return parser


def opener_of(engine: str) -> Opener:
    """Return what opens an image in the engine of this name."""
    if engine == "builtin":
        return Builtin
    made = create_engine(engine)
    return lambda image: Asked(made, image)


def _sources(options: argparse.Namespace) -> Iterator[Sample]:
    if options.folder is not None:
        yield from iter_samples(options.folder)
    if options.mnfinder is not None:
        yield from iter_mnfinder(options.mnfinder)
    for images, labels in options.pairs:
        yield from iter_pairs(images, labels)


def chosen(
    samples: Iterable[Sample], kinds: Sequence[str] | None, *, held_out: bool
) -> Iterator[Sample]:
    """Yield the samples of some kinds, perhaps only those that may be measured on."""
    for sample in samples:
        if (not kinds or sample.kind in kinds) and (not held_out or was_held_out(sample.name)):
            yield sample


def tell_progress(line: str) -> None:
    """Say on stderr what was measured; stdout holds the tables only."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
