"""What can be typed after a command, each declared once."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_sam3.cli.parsing import (
    TypedLimits,
    TypedOutline,
    TypedPlane,
    parse_amount,
    parse_box,
    parse_example,
    parse_limits,
    parse_negative_example,
    parse_negative_point,
    parse_outline,
    parse_plane,
    parse_point,
)
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import Exemplar, Point

find_all_option = partial(typer.Option, rich_help_panel="Find all of a kind")
one_object_option = partial(typer.Option, rich_help_panel="One object")
everything_option = partial(typer.Option, rich_help_panel="Everything")
image_option = partial(typer.Option, rich_help_panel="Image")
output_option = partial(typer.Option, rich_help_panel="Output")
answers_option = partial(typer.Option, rich_help_panel="Engine and stored results")
hosted_option = partial(typer.Option, rich_help_panel="Hosted engine")
usd_option = partial(typer.Option, metavar="USD", parser=parse_amount)

# ---------------------------------------------------------------------- of several commands

AsJson = Annotated[
    bool, output_option("--json", help="Print the result as JSON, for other programs.")
]
Quiet = Annotated[bool, output_option("--quiet", "-q", help="Print warnings and errors only.")]
Verbose = Annotated[bool, output_option("--verbose", "-v", help="Print details.")]
Overwrite = Annotated[bool, output_option("--overwrite", help="Replace files that exist.")]
PlaneOf = Annotated[
    TypedPlane | None,
    image_option(
        "--plane", metavar="T,Z", parser=parse_plane, help="Which plane of a stack, counted from 0."
    ),
]
Url = Annotated[str | None, hosted_option("--url", metavar="URL", help="Address of the service.")]
Cap = Annotated[
    float | None,
    hosted_option("--cap", metavar="USD", parser=parse_amount, help="Spend at most this."),
]
Yes = Annotated[bool, hosted_option("--yes", help="Accept the price without asking.")]
PayAgain = Annotated[
    bool,
    hosted_option(
        "--pay-again", help="Send again what was sent before and lost; it may be billed twice."
    ),
]
Project = Annotated[
    str | None, hosted_option("--project", metavar="NAME", help="Book the cost under this project.")
]
Fresh = Annotated[
    bool, answers_option("--fresh", help="Send the request even if its result is in the cache.")
]

# ---------------------------------------------------------------------- of `segment`

EngineName = Literal["builtin", "segmind", "local", "server"]
EngineOf = Annotated[
    EngineName, answers_option("--engine", help="Which engine to use; see: napari-sam3 engines.")
]
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE", help="TIFF, PNG, JPEG, BMP or NPY files.")
]
Texts = Annotated[
    list[str] | None,
    find_all_option(
        "--text", metavar="TEXT", help="What to find, e.g. nucleus. Repeat it for several classes."
    ),
]
Exemplars = Annotated[
    list[Exemplar] | None,
    find_all_option(
        "--exemplar",
        metavar="R0,C0,R1,C1",
        parser=parse_example,
        help="A box around an example of what to find.",
    ),
]
NegativeExemplars = Annotated[
    list[Exemplar] | None,
    find_all_option(
        "--negative-exemplar",
        metavar="R0,C0,R1,C1",
        parser=parse_negative_example,
        help="A box around an example of what not to find.",
    ),
]
MinScore = Annotated[
    float,
    find_all_option(
        "--min-score",
        metavar="SCORE",
        min=0.1,
        max=1,
        help="Leave out objects with a lower score; also for --everything.",
    ),
]
MaxMasks = Annotated[
    int,
    find_all_option(
        "--max-masks",
        metavar="N",
        min=0,
        max=100,
        help="Keep the best so many objects; 0 keeps all.",
    ),
]
Points = Annotated[
    list[Point] | None,
    one_object_option("--point", metavar="R,C", parser=parse_point, help="A click on an object."),
]
NegativePoints = Annotated[
    list[Point] | None,
    one_object_option(
        "--negative-point",
        metavar="R,C",
        parser=parse_negative_point,
        help="A click on what does not belong to any of the objects.",
    ),
]
Boxes = Annotated[
    list[Box] | None,
    one_object_option(
        "--box", metavar="R0,C0,R1,C1", parser=parse_box, help="A box around one object."
    ),
]
Outlines = Annotated[
    list[TypedOutline] | None,
    one_object_option(
        "--outline",
        metavar="R0,C0,R1,C1,…",
        parser=parse_outline,
        help="A rough outline of one object, by its corners.",
    ),
]
ProposalOf = Annotated[
    Literal["small", "medium", "large"] | None,
    one_object_option("--proposal", help="Which object to take where a click could mean several."),
]
IsEverything = Annotated[bool, everything_option("--everything", help="Find all objects.")]
Diameter = Annotated[
    float | None,
    everything_option(
        "--diameter",
        metavar="PIXELS",
        help="Width of the objects; by default estimated from the image.",
    ),
]
PointsPerSide = Annotated[
    int,
    everything_option(
        "--points-per-side",
        metavar="N",
        min=0,
        max=128,
        help="Density of the grid of automatic clicks.",
    ),
]
PredIouThresh = Annotated[
    float,
    everything_option(
        "--pred-iou-thresh",
        metavar="IOU",
        min=0.5,
        max=1,
        help="Lowest quality predicted for a mask that is kept.",
    ),
]
ContrastLimits = Annotated[
    TypedLimits | None,
    image_option(
        "--contrast-limits",
        metavar="LOW,HIGH",
        parser=parse_limits,
        help="Values shown as black and white; by default chosen for each image.",
    ),
]
Output = Annotated[
    Path | None,
    output_option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to save the labels of one image; by default beside it, as …_labels.tif.",
    ),
]
OutputDir = Annotated[
    Path | None,
    output_option("--output-dir", metavar="FOLDER", help="Save the labels of all images here."),
]
Estimating = Annotated[
    bool, answers_option("--estimate", help="Print what it would cost, and send nothing.")
]
NoCache = Annotated[bool, answers_option("--no-cache", help="Neither read nor write the cache.")]
Combine = Annotated[
    bool,
    hosted_option(
        "--combine",
        help="Send text, exemplars and points as one request; the model may ignore some of them.",
    ),
]
SeparateMasks = Annotated[
    bool, hosted_option("--separate-masks", help="Get one mask per object (experimental).")
]
Overlay = Annotated[
    Path | None,
    hosted_option(
        "--overlay",
        metavar="PNG",
        help="Save a picture with the objects marked, instead of labels.",
    ),
]
ApiOf = Annotated[
    Literal["auto", "v1", "v2"], hosted_option("--api", help="Version of the service's API.")
]
ImageFormatOf = Annotated[
    Literal["png", "jpeg"], hosted_option("--image-format", help="Format to upload in.")
]
MaxSide = Annotated[
    int,
    hosted_option(
        "--max-side",
        min=64,
        metavar="PIXELS",
        help="Shrink larger images to this side before the upload.",
    ),
]
InFlight = Annotated[
    int,
    hosted_option(
        "--in-flight", metavar="N", min=1, max=16, help="Requests to send at the same time."
    ),
]
