"""What was found → pictures, and bodies of answers in every form that clients must expect."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from napari_sam3.core.arrays import BoolArray, Int64Array, UInt8Array
from napari_sam3.testing._behaviour import Behaviour, ImageKind, OutputHost, Several
from napari_sam3.testing._fields import Fields
from napari_sam3.testing._storage import File

_COLOURS = np.array(
    [(230, 60, 60), (60, 180, 75), (70, 110, 230), (245, 200, 40), (180, 70, 200), (60, 200, 200)],
    np.uint8,
)
_LOSSY: Mapping[str, dict[str, Any]] = {
    # low enough for ringing around the outlines
    "JPEG": {"quality": 30},
    "WEBP": {"quality": 40},
}


Store = Callable[[File, int], str]
"""Keeps a file of an answer under its number and returns its public address."""

_HOSTS: Mapping[OutputHost, str] = {
    "foreign": "https://files.example.com/generations/",
    "http": "http://images.segmind.com/generations/",
    "private": "http://10.0.0.7/generations/",
    "file": "file:///generations/",
}
_MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(64)


@dataclass(frozen=True, slots=True)
class AnswerFiles:
    """What the model found, as files: none where nothing was found and an empty list says so."""

    files: tuple[File, ...]
    form: Several


def make_answer(
    image: UInt8Array, masks: Sequence[BoolArray], fields: Fields, behaviour: Behaviour
) -> AnswerFiles:
    """Draw what the flags ask for."""
    form = _form(fields, behaviour)
    is_empty = not masks and behaviour.nothing_found == "empty list"
    if is_empty or not fields.flags:
        return AnswerFiles((), "urls" if form == "single" else form)
    shape = (image.shape[0], image.shape[1])
    factor, kind = behaviour.size_factor, behaviour.image
    factors = factor if isinstance(factor, tuple) else (factor, factor)
    combined = mask_picture(masks, shape, kind, factors)
    pictures: list[File] = []
    for flag in fields.flags:
        if flag == "return_overlay":
            pictures.append(overlay_picture(image, masks, kind, factors))
        elif flag == "return_preview" or behaviour.masks_form == "single" or not masks:
            pictures.append(combined)
        else:
            pictures += [mask_picture([mask], shape, kind, factors) for mask in masks]
    return AnswerFiles(tuple(pictures[:1] if form == "single" else pictures), form)


def _form(fields: Fields, behaviour: Behaviour) -> Several:
    if len(fields.flags) > 1:
        return behaviour.flags_form
    return behaviour.masks_form if fields.flags == ("return_masks",) else "single"


# ------------------------------------------------------------------ v1


def v1_body(answer: AnswerFiles, behaviour: Behaviour, store: Store) -> tuple[bytes, str]:
    """Return body and content type of a v1 answer."""
    if behaviour.answer in _LIES:
        return _LIES[behaviour.answer]
    if answer.form == "zip" and answer.files:
        return _zip(answer.files).body, "application/zip"
    if answer.form == "base64":
        return _json([_base64(picture) for picture in answer.files])
    if answer.form == "single":
        return _wrapped(answer.files[0], behaviour, store)
    return _json({"images": _entries(answer.files, behaviour, store)})


_LIES: Mapping[str, tuple[bytes, str]] = {
    "error json": (b'{"error": "The model could not be loaded"}', "application/json"),
    "html": (b"<!DOCTYPE html><html><body><h1>Just a moment</h1></body></html>", "text/html"),
    "video": (_MP4, "video/mp4"),
    "empty": (b"", "image/png"),
}


def _wrapped(picture: File, behaviour: Behaviour, store: Store) -> tuple[bytes, str]:
    kind = behaviour.answer
    if kind == "json image":
        return _json({"image": _base64(picture)})
    if kind == "json url":
        return _json({"output": store(picture, 0)})
    if kind == "json string":
        return _json(_base64(picture))
    if kind == "data uri":
        return _data_uri(picture).encode(), "text/plain"
    return picture.body, picture.content_type


# ------------------------------------------------------------------ v2


def v2_output(answer: AnswerFiles, behaviour: Behaviour, store: Store) -> dict[str, Any]:
    """Return ``output`` and ``images`` of a v2 result."""
    pictures = answer.files
    if answer.form == "zip" and pictures:
        pictures = (_zip(pictures),)
    if answer.form == "base64" or behaviour.output in ("base64", "data uri"):
        texts = [
            _data_uri(picture) if behaviour.output == "data uri" else _base64(picture)
            for picture in pictures
        ]
        return {"output": _one_or_all(texts), "images": []}
    images = _entries(pictures, behaviour, store)
    output = _of_urls([entry["url"] for entry in images], behaviour)
    shown = {"images": images} if behaviour.images_list or output is None else {}
    return {"output": output, **shown}


def _of_urls(urls: list[str], behaviour: Behaviour) -> Any:
    if behaviour.output == "none":
        return None
    if behaviour.output == "list":
        return urls
    if behaviour.output == "dict":
        return _one_or_all([{"url": url} for url in urls])
    if behaviour.output == "json text":
        return json.dumps({"images": [{"url": url} for url in urls]})
    return _one_or_all(urls)


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


# ------------------------------------------------------------------ parts


def _entries(pictures: Sequence[File], behaviour: Behaviour, store: Store) -> list[dict[str, Any]]:
    entries = []
    for number, picture in enumerate(pictures):
        name = f"{number}{picture.suffix}"
        url = store(picture, number)
        if behaviour.output_host != "cdn":
            url = _HOSTS[behaviour.output_host] + name
        size = len(picture.body)
        entries.append(
            {
                "url": url,
                "content_type": picture.content_type,
                "file_name": name,
                "file_size": str(size) if behaviour.file_size_text else size,
            }
        )
    return entries


def _zip(pictures: Sequence[File]) -> File:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, picture in enumerate(pictures):
            # not padded with zeros: mask_10 comes before mask_2 for who sorts letters
            member = zipfile.ZipInfo(f"mask_{number}{picture.suffix}", (2026, 1, 1, 0, 0, 0))
            archive.writestr(member, picture.body)
    return File(buffer.getvalue(), "application/zip", ".zip")


def _json(value: Any) -> tuple[bytes, str]:
    return json.dumps(value).encode(), "application/json"


def _base64(picture: File) -> str:
    return base64.b64encode(picture.body).decode("ascii")


def _data_uri(picture: File) -> str:
    return f"data:{picture.content_type};base64,{_base64(picture)}"


# ------------------------------------------------------------------ pictures


def mask_picture(
    masks: Sequence[BoolArray],
    shape: tuple[int, int],
    kind: ImageKind,
    factors: tuple[float, float] = (1.0, 1.0),
) -> File:
    """Return one image file of all masks of a shape together, black where there are none."""
    names = np.zeros(shape, np.int64)
    for name, mask in enumerate(masks, start=1):
        names[mask] = name
    return _saved(_resized(_DRAWN[kind](names), factors), kind)


def overlay_picture(
    image: UInt8Array,
    masks: Sequence[BoolArray],
    kind: ImageKind,
    factors: tuple[float, float] = (1.0, 1.0),
) -> File:
    """Return the image with tinted objects and their outlines, as a file."""
    drawn = image.copy()
    for number, mask in enumerate(masks):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn[mask] = (drawn[mask] * 0.6 + colour * 0.4).astype(np.uint8)
        drawn[mask & ~ndimage.binary_erosion(mask)] = colour
    return _saved(_resized(Image.fromarray(drawn), factors), kind)


def _gray(names: Int64Array) -> Image.Image:
    return Image.fromarray(np.where(names > 0, np.uint8(255), np.uint8(0)))


def _palette(names: Int64Array) -> Image.Image:
    picture = Image.fromarray((names > 0).astype(np.uint8))
    picture.putpalette([0, 0, 0, 255, 255, 255])
    return picture


def _see_through(names: Int64Array) -> Image.Image:
    picture = Image.new("RGB", names.shape[::-1], "white")
    picture.putalpha(_gray(names))
    return picture


def _coloured(names: Int64Array) -> Image.Image:
    colours = np.concatenate([np.zeros((1, 3), np.uint8), _COLOURS])
    return Image.fromarray(colours[np.where(names > 0, 1 + (names - 1) % len(_COLOURS), 0)])


_DRAWN: Mapping[ImageKind, Callable[[Int64Array], Image.Image]] = {
    "L": _gray,
    "1": lambda names: _gray(names).convert("1", dither=Image.Dither.NONE),
    "P": _palette,
    "RGB": lambda names: _gray(names).convert("RGB"),
    "RGBA": lambda names: _gray(names).convert("RGBA"),
    "alpha": _see_through,
    "colours": _coloured,
    "JPEG": _gray,
    "WebP": lambda names: _gray(names).convert("RGB"),
}


def _resized(picture: Image.Image, factors: tuple[float, float]) -> Image.Image:
    rows = max(1, round(picture.height * factors[0]))
    cols = max(1, round(picture.width * factors[1]))
    if (cols, rows) == picture.size:
        return picture
    return picture.resize((cols, rows), Image.Resampling.NEAREST)


def _saved(picture: Image.Image, kind: ImageKind) -> File:
    form = kind.upper() if kind in ("JPEG", "WebP") else "PNG"
    buffer = io.BytesIO()
    picture.save(buffer, form, **_LOSSY.get(form, {}))
    suffix = {"JPEG": ".jpeg", "WEBP": ".webp"}.get(form, ".png")
    return File(buffer.getvalue(), f"image/{form.lower()}", suffix)
