"""How the service is called, and addresses that would give the key away."""

import dataclasses
import math

import pytest

from napari_sam3.engines.creating import create_engine
from napari_sam3.engines.segmind.options import (
    DEFAULT_URL,
    SegmindOptions,
    is_loopback,
    price_of,
)
from napari_sam3.errors import PromptError
from napari_sam3.settings import SEGMIND_URL, write_setting


def test_where_no_address_is_given_the_one_that_is_set_is_asked():
    assert create_engine("segmind").options.url == DEFAULT_URL
    write_setting(SEGMIND_URL, "https://proxy.example")
    for settings in ({}, {"api": "v1"}):
        assert create_engine("segmind", **settings).options.url == "https://proxy.example"
    assert create_engine("segmind", url="https://other.example").options.url.endswith(
        "other.example"
    )


def test_the_defaults_are_the_service_itself():
    options = SegmindOptions()
    assert options.url == "https://api.segmind.com"
    assert (options.api, options.answer, options.image_format) == ("auto", "mask", "png")
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.url = "https://other"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://proxy.lab/", "https://proxy.lab"),
        (" https://proxy.lab:8443/sam//\n", "https://proxy.lab:8443/sam"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://localhost", "http://localhost"),
        ("https://sam_3.lab", "https://sam_3.lab"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("HTTPS://api.segmind.com", "HTTPS://api.segmind.com"),
    ],
)
def test_addresses_that_keep_the_key_safe(url, kept):
    assert SegmindOptions(url=url).url == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://api.segmind.com",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://0.0.0.0",
        "ftp://api.segmind.com",
        "api.segmind.com",
        "",
        "https://",
        "https://me:secret@api.segmind.com",
        "https://api.segmind.com?key=1",
        "https://api.segmind.com#x",
        "https://api.segmind.com:port",
        "https://api.segmind.com:0",
        "https://[::1",
        "https://evil.example\\@api.segmind.com",
        "https://api segmind.com",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(PromptError, match="address must") as caught:
        SegmindOptions(url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": "v3"},
        {"answer": "masks"},
        {"image_format": "gif"},
        {"max_side": 63},
        {"deadline_s": 0.0},
        {"deadline_s": math.nan},
        {"read_timeout_s": -1.0},
        {"block_timeout_s": math.inf},
    ],
    ids=repr,
)
def test_values_that_make_no_sense_are_refused_and_named(wrong):
    with pytest.raises(PromptError):
        SegmindOptions(**wrong)


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True)]
    + [(host, False) for host in ("", None, "10.0.0.1", "0.0.0.0", "localhost.com", "127.1")],
)
def test_only_this_computer_is_this_computer(host, is_here):
    assert is_loopback(host) is is_here


def test_the_price_is_told_for_one_and_for_many():
    assert price_of(1) == "1 call, about $0.006"
    assert price_of(100) == "100 calls, about $0.600"
