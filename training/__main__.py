"""``python -m training STEP``: from annotated images to shipped weights, and what those reach."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WEIGHTS = Path("src/napari_sam3/engines/builtin/nets/weights.npz")


def main() -> None:
    """Run one step."""
    options = _parser().parse_args()
    options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    steps = parser.add_subparsers(required=True)
    groups = _step(steps, "groups", "group near-duplicates and write the split", _groups)
    train = _step(steps, "train", "train one net, from its checkpoint if there is one", _train)
    train.add_argument("net", choices=("prompt", "dense"))
    export = _step(steps, "export", "write the weights that are shipped", _export)
    evaluate = _step(steps, "evaluate", "measure the shipped nets on what was held out", _evaluate)
    for one in (groups, train, export, evaluate):
        one.add_argument("folder", type=Path, help="with index.csv, images and labels")
    for one in (groups, evaluate):
        one.add_argument("--mnfinder", type=Path, help="its training-data folder")
    plot = _step(steps, "plot", "draw what scores meant, from what evaluate --json wrote", _plot)
    plot.add_argument("figures", type=Path, metavar="FIGURES.json")
    plot.add_argument("output", type=Path, metavar="FILE.svg")
    train.add_argument("--checkpoint", type=Path, required=True)
    train.add_argument("--steps", type=int, help="in all; the net's own number by default")
    train.add_argument("--synthetic", type=int, default=320, help="drawn images")
    for name in ("prompt", "dense"):
        export.add_argument(f"--{name}", type=Path, required=True, help="its checkpoint")
    export.add_argument("--images", type=int, default=60, help="to calibrate the scores with")
    export.add_argument("--output", type=Path, default=_WEIGHTS)
    evaluate.add_argument("--images", type=int, default=20, help="at most, per kind")
    evaluate.add_argument("--objects", type=int, default=5, help="per image")
    evaluate.add_argument("--composed", type=int, default=12, help="images, per mix of two kinds")
    evaluate.add_argument("--json", type=Path, metavar="OUT", help="all figures and scores")
    evaluate.add_argument("--plot", type=Path, metavar="FILE.svg", help="what scores meant")
    evaluate.add_argument("--seen", action="store_true", help="on what was learned from, instead")
    return parser


def _step(
    steps: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    run: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    parser = steps.add_parser(name, help=text)
    parser.set_defaults(run=run)
    return parser


def _groups(options: argparse.Namespace) -> None:
    from training.data import iter_mnfinder, iter_samples
    from training.split import write_split

    samples = list(iter_samples(options.folder))
    if options.mnfinder is not None:
        samples += iter_mnfinder(options.mnfinder)
    write_split(samples)


def _train(options: argparse.Namespace) -> None:
    from training.augment import prepare
    from training.train import train, training_samples

    samples = training_samples(options.folder, options.synthetic)
    prepared = [prepare(sample) for sample in samples]
    train(options.net, prepared, options.checkpoint, options.steps, _told)


def _export(options: argparse.Namespace) -> None:
    import numpy as np

    from training.export import export
    from training.train import training_samples

    samples = training_samples(options.folder, synthetic=options.images // 3)
    chosen = np.random.default_rng(0).permutation(len(samples))[: options.images]
    files = {"prompt": options.prompt, "dense": options.dense}
    size = export(files, [samples[index] for index in chosen], options.output)
    _told(f"{options.output}: {size} bytes")


def _evaluate(options: argparse.Namespace) -> None:
    from benchmarks.tables import as_json
    from training.data import iter_mnfinder, iter_samples
    from training.evaluate import evaluate
    from training.split import may_be_learned_from, was_held_out

    if options.plot is not None:
        # better to hear now than after an hour that matplotlib is missing
        import training.plot  # noqa: F401

    samples = list(iter_samples(options.folder))
    if options.mnfinder is not None:
        samples += iter_mnfinder(options.mnfinder)
    wanted = may_be_learned_from if options.seen else was_held_out
    measures = evaluate(
        [sample for sample in samples if wanted(sample.name)],
        images=options.images,
        objects=options.objects,
        composed=options.composed,
        report=_told,
    )
    told = as_json(measures)
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=0) + "\n")
    if options.plot is not None:
        _drawn(told, options.plot)


def _plot(options: argparse.Namespace) -> None:
    _drawn(json.loads(options.figures.read_text()), options.output)


def _drawn(told: dict[str, Any], path: Path) -> None:
    from training.evaluate import reliability_curves
    from training.plot import plot_reliability

    plot_reliability(reliability_curves(told), path)


def _told(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
