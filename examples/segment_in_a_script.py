"""Box two coins, find all like them, and save a label image: no window needed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import coins

import napari_sam3 as sam3


def main(folder: Path) -> None:
    """Write ``coins_labels.png`` into a folder."""
    examples = [(40, 25, 85, 70), (45, 165, 85, 205)]
    result = sam3.segment(coins(), sam3.ConceptPrompt(exemplars=examples))
    for coin in result.instances:
        print(f"{coin.area:5d} px, score {coin.score:.2f}, at {coin.box}")
    labels = result.instances.to_labels()
    Image.fromarray(labels.astype(np.uint16)).save(folder / "coins_labels.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
