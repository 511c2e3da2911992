"""napari layers ↔ core types.  Knows layers, but no workflow and no widget.

``transforms``  data ↔ world of one layer, as a matrix
``planes``      which plane of an image is shown, and how it looks
``prompts``     drawn Points and Shapes → points and boxes in image pixels
``drawing``     prompt layers that are set up to be drawn in
``output``      objects → a Labels layer, in the right place of the right plane
"""
