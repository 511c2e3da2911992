"""Run the command line as ``python -m napari_sam3.cli``."""

from napari_sam3.cli import main

main()
