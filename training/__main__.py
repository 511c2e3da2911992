"""``python -m training groups|train|export|evaluate``: from annotated images to shipped weights."""

from __future__ import annotations

import argparse
from pathlib import Path


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
    for one in (groups, train):
        one.add_argument("folder", type=Path, help="with index.csv, images and labels")
        one.add_argument("--mnfinder", type=Path, help="its training-data folder")
    train.add_argument("--checkpoint", type=Path, required=True)
    train.add_argument("--steps", type=int, help="in all; the net's own number by default")
    train.add_argument("--synthetic", type=int, default=320, help="drawn images")
    return parser


def _step(steps: "argparse._SubParsersAction[argparse.ArgumentParser]", name, text, run):
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

    samples = training_samples(options.folder, options.mnfinder, options.synthetic)
    prepared = [prepare(sample) for sample in samples]
    train(options.net, prepared, options.checkpoint, options.steps, _told)


def _told(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
