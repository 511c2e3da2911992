"""Pictures → the body of an answer, in every form that clients have to expect."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_sam3.core.instances import BoolArray
from napari_sam3.testing._behaviour import Behaviour, OutputHost, Several
from napari_sam3.testing._images import UInt8Array
from napari_sam3.testing._pictures import PictureFile, mask_picture, overlay_picture
from napari_sam3.testing._validation import Fields

Store = Callable[[str, PictureFile], str]
"""Keeps a picture under a name and returns its public address."""

_HOSTS: Mapping[OutputHost, str] = {
    "foreign": "https://files.example.com/generations/",
    "http": "http://images.segmind.com/generations/",
    "private": "http://10.0.0.7/generations/",
    "file": "file:///generations/",
}
_MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(64)


@dataclass(frozen=True, slots=True)
class AnswerFiles:
    """What the model found, as files.

    Parameters
    ----------
    pictures : tuple of PictureFile
        Empty where nothing was found and that is said by an empty list.
    form : str
        ``single``, ``base64``, ``urls`` or ``zip``; see `Behaviour`.
    """

    pictures: tuple[PictureFile, ...]
    form: Several


def make_answer(
    image: UInt8Array, masks: Sequence[BoolArray], fields: Fields, behaviour: Behaviour
) -> AnswerFiles:
    """Draw what the flags ask for.

    Parameters
    ----------
    image : ndarray of uint8, shape (rows, cols, 3)
    masks : sequence of ndarray of bool, shape (rows, cols)
    fields : Fields
    behaviour : Behaviour

    Returns
    -------
    AnswerFiles
    """
    form = _form(fields, behaviour)
    is_empty = not masks and behaviour.nothing_found == "empty list"
    if is_empty or not fields.flags:
        return AnswerFiles((), "urls" if form == "single" else form)
    shape = (image.shape[0], image.shape[1])
    factor, kind = behaviour.size_factor, behaviour.image
    factors = factor if isinstance(factor, tuple) else (factor, factor)
    combined = mask_picture(masks, shape, kind, factors)
    pictures: list[PictureFile] = []
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
    if answer.form == "zip" and answer.pictures:
        return _zip(answer.pictures).body, "application/zip"
    if answer.form == "base64":
        return _json([_base64(picture) for picture in answer.pictures])
    if answer.form == "single":
        return _wrapped(answer.pictures[0], behaviour, store)
    return _json({"images": _entries(answer.pictures, behaviour, store)})


_LIES: Mapping[str, tuple[bytes, str]] = {
    "error json": (b'{"error": "The model could not be loaded"}', "application/json"),
    "html": (b"<!DOCTYPE html><html><body><h1>Just a moment</h1></body></html>", "text/html"),
    "video": (_MP4, "video/mp4"),
    "empty": (b"", "image/png"),
}


def _wrapped(picture: PictureFile, behaviour: Behaviour, store: Store) -> tuple[bytes, str]:
    kind = behaviour.answer
    if kind == "json image":
        return _json({"image": _base64(picture)})
    if kind == "json url":
        return _json({"output": store("0" + picture.suffix, picture)})
    if kind == "json string":
        return _json(_base64(picture))
    if kind == "data uri":
        return _data_uri(picture).encode(), "text/plain"
    return picture.body, picture.content_type


# ------------------------------------------------------------------ v2


def v2_output(answer: AnswerFiles, behaviour: Behaviour, store: Store) -> dict[str, Any]:
    """Return ``output`` and ``images`` of a v2 result."""
    pictures = answer.pictures
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


def _entries(
    pictures: Sequence[PictureFile], behaviour: Behaviour, store: Store
) -> list[dict[str, Any]]:
    entries = []
    for number, picture in enumerate(pictures):
        name = f"{number}{picture.suffix}"
        url = store(name, picture)
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


def _zip(pictures: Sequence[PictureFile]) -> PictureFile:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, picture in enumerate(pictures):
            # not padded with zeros: mask_10 comes before mask_2 for who sorts letters
            member = zipfile.ZipInfo(f"mask_{number}{picture.suffix}", (2026, 1, 1, 0, 0, 0))
            archive.writestr(member, picture.body)
    return PictureFile(buffer.getvalue(), "application/zip", ".zip")


def _json(value: Any) -> tuple[bytes, str]:
    return json.dumps(value).encode(), "application/json"


def _base64(picture: PictureFile) -> str:
    return base64.b64encode(picture.body).decode("ascii")


def _data_uri(picture: PictureFile) -> str:
    return f"data:{picture.content_type};base64,{_base64(picture)}"
