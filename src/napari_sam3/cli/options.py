"""What can be typed after a command, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from napari_sam3.cli.parsing import (
    Outline,
    Plane,
    TypedLimits,
    parse_amount,
    parse_box,
    parse_limits,
    parse_outline,
    parse_plane,
    parse_point,
)
from napari_sam3.core.geometry import Box
from napari_sam3.core.prompts import Point

FIND_ALL = "Find all of a kind"
ONE_OBJECT = "One object"
EVERYTHING = "Everything"
IMAGE = "Image"
OUTPUT = "Output"
ANSWERS = "Engine and stored results"
HOSTED = "Hosted engine"

# ---------------------------------------------------------------------- of several commands

AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result as JSON, for other programs.", rich_help_panel=OUTPUT
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print warnings and errors only.", rich_help_panel=OUTPUT),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Print details.", rich_help_panel=OUTPUT)
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel=OUTPUT),
]
PlaneOf = Annotated[
    Plane | None,
    typer.Option(
        "--plane",
        metavar="T,Z",
        parser=parse_plane,
        help="Which plane of a stack, counted from 0.",
        rich_help_panel=IMAGE,
    ),
]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="Address of the service.", rich_help_panel=HOSTED),
]
Cap = Annotated[
    float | None,
    typer.Option(
        "--cap",
        metavar="USD",
        parser=parse_amount,
        help="Spend at most this.",
        rich_help_panel=HOSTED,
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Accept the price without asking.", rich_help_panel=HOSTED)
]
PayAgain = Annotated[
    bool,
    typer.Option(
        "--pay-again",
        help="Send again what was sent before and lost; it may be billed twice.",
        rich_help_panel=HOSTED,
    ),
]
Project = Annotated[
    str | None,
    typer.Option(
        "--project",
        metavar="NAME",
        help="Book the cost under this project.",
        rich_help_panel=HOSTED,
    ),
]

# ---------------------------------------------------------------------- of `segment`

EngineName = Literal["builtin", "segmind", "local", "server"]
EngineOf = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="Which engine to use; see: napari-sam3 engines.",
        rich_help_panel=ANSWERS,
    ),
]
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGE", help="TIFF, PNG, JPEG, BMP or NPY files.")
]
Texts = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="TEXT",
        help="What to find, e.g. nucleus. Repeat it for several classes.",
        rich_help_panel=FIND_ALL,
    ),
]
Exemplars = Annotated[
    list[Box] | None,
    typer.Option(
        "--exemplar",
        metavar="R0,C0,R1,C1",
        parser=parse_box,
        help="A box around an example of what to find.",
        rich_help_panel=FIND_ALL,
    ),
]
NegativeExemplars = Annotated[
    list[Box] | None,
    typer.Option(
        "--negative-exemplar",
        metavar="R0,C0,R1,C1",
        parser=parse_box,
        help="A box around an example of what not to find.",
        rich_help_panel=FIND_ALL,
    ),
]
MinScore = Annotated[
    float,
    typer.Option(
        "--min-score",
        metavar="SCORE",
        min=0.1,
        max=1,
        help="Leave out objects with a lower score; also for --everything.",
        rich_help_panel=FIND_ALL,
    ),
]
MaxMasks = Annotated[
    int,
    typer.Option(
        "--max-masks",
        metavar="N",
        min=0,
        max=100,
        help="Keep the best so many objects; 0 keeps all.",
        rich_help_panel=FIND_ALL,
    ),
]
Points = Annotated[
    list[Point] | None,
    typer.Option(
        "--point",
        metavar="R,C",
        parser=parse_point,
        help="A click on an object.",
        rich_help_panel=ONE_OBJECT,
    ),
]
NegativePoints = Annotated[
    list[Point] | None,
    typer.Option(
        "--negative-point",
        metavar="R,C",
        parser=parse_point,
        help="A click on what does not belong to any of the objects.",
        rich_help_panel=ONE_OBJECT,
    ),
]
Boxes = Annotated[
    list[Box] | None,
    typer.Option(
        "--box",
        metavar="R0,C0,R1,C1",
        parser=parse_box,
        help="A box around one object.",
        rich_help_panel=ONE_OBJECT,
    ),
]
Outlines = Annotated[
    list[Outline] | None,
    typer.Option(
        "--outline",
        metavar="R0,C0,R1,C1,…",
        parser=parse_outline,
        help="A rough outline of one object, by its corners.",
        rich_help_panel=ONE_OBJECT,
    ),
]
ProposalOf = Annotated[
    Literal["small", "medium", "large"] | None,
    typer.Option(
        "--proposal",
        help="Which object to take where a click could mean several.",
        rich_help_panel=ONE_OBJECT,
    ),
]
IsEverything = Annotated[
    bool, typer.Option("--everything", help="Find all objects.", rich_help_panel=EVERYTHING)
]
Diameter = Annotated[
    float | None,
    typer.Option(
        "--diameter",
        metavar="PIXELS",
        help="Width of the objects; by default estimated from the image.",
        rich_help_panel=EVERYTHING,
    ),
]
PointsPerSide = Annotated[
    int,
    typer.Option(
        "--points-per-side",
        metavar="N",
        min=0,
        max=128,
        help="Density of the grid of automatic clicks.",
        rich_help_panel=EVERYTHING,
    ),
]
PredIouThresh = Annotated[
    float,
    typer.Option(
        "--pred-iou-thresh",
        metavar="IOU",
        min=0.5,
        max=1,
        help="Lowest quality predicted for a mask that is kept.",
        rich_help_panel=EVERYTHING,
    ),
]
ContrastLimits = Annotated[
    TypedLimits | None,
    typer.Option(
        "--contrast-limits",
        metavar="LOW,HIGH",
        parser=parse_limits,
        help="Values shown as black and white; by default chosen for each image.",
        rich_help_panel=IMAGE,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to save the labels of one image; by default beside it, as …_labels.tif.",
        rich_help_panel=OUTPUT,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        metavar="FOLDER",
        help="Save the labels of all images here.",
        rich_help_panel=OUTPUT,
    ),
]
Estimating = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="Print what it would cost, and send nothing.",
        rich_help_panel=ANSWERS,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        help="Send the request even if its result is in the cache.",
        rich_help_panel=ANSWERS,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Neither read nor write the cache.", rich_help_panel=ANSWERS),
]
Combine = Annotated[
    bool,
    typer.Option(
        "--combine",
        help="Send text, exemplars and points as one request; the model may ignore some of them.",
        rich_help_panel=HOSTED,
    ),
]
SeparateMasks = Annotated[
    bool,
    typer.Option(
        "--separate-masks", help="Get one mask per object (experimental).", rich_help_panel=HOSTED
    ),
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        "--overlay",
        metavar="PNG",
        help="Save a picture with the objects marked, instead of labels.",
        rich_help_panel=HOSTED,
    ),
]
ApiOf = Annotated[
    Literal["auto", "v1", "v2"],
    typer.Option("--api", help="Version of the service's API.", rich_help_panel=HOSTED),
]
ImageFormatOf = Annotated[
    Literal["png", "jpeg"],
    typer.Option("--image-format", help="Format to upload in.", rich_help_panel=HOSTED),
]
MaxSide = Annotated[
    int,
    typer.Option(
        "--max-side",
        min=64,
        metavar="PIXELS",
        help="Shrink larger images to this side before the upload.",
        rich_help_panel=HOSTED,
    ),
]
InFlight = Annotated[
    int,
    typer.Option(
        "--in-flight",
        metavar="N",
        min=1,
        max=16,
        help="Requests to send at the same time.",
        rich_help_panel=HOSTED,
    ),
]
