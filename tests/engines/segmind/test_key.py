"""The key: where it is found, and that it is seen nowhere."""

import copy
import dataclasses
import logging
import pickle
import sys
from types import ModuleType

import pytest

from napari_sam3.engines.segmind.engine import SegmindEngine, SegmindTicket
from napari_sam3.engines.segmind.key import (
    ENVIRONMENT_VARIABLE,
    ApiKey,
    find_key,
    forget_key,
    redacted,
    remember_key,
)
from napari_sam3.engines.segmind.options import SegmindOptions
from napari_sam3.errors import AuthenticationError

TEXT = "SG_0123456789abcdef"


@pytest.fixture
def keyring(monkeypatch):
    """A keyring in memory, instead of the system's."""
    module, stored = ModuleType("keyring"), {}
    module.stored = stored
    module.get_password = lambda service, user: stored.get((service, user))
    module.set_password = lambda service, user, text: stored.__setitem__((service, user), text)
    module.delete_password = lambda service, user: stored.__delitem__((service, user))
    monkeypatch.setitem(sys.modules, "keyring", module)
    return module


@pytest.fixture
def no_keyring(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)


def found():
    key = find_key()
    return None if key is None else (key[0].reveal(), key[1])


def test_without_any_there_is_none(no_keyring):
    assert find_key() is None


def test_the_environment_goes_before_the_keyring_and_that_before_the_session(keyring, monkeypatch):
    remember_key(ApiKey("SG_session"))
    keyring.stored.clear()
    assert found() == ("SG_session", "this session only")
    keyring.set_password("napari-sam3", "segmind", " SG_stored\n")
    assert found() == ("SG_stored", "the system's keyring")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, f"  {TEXT}\n")
    assert found() == (TEXT, f"the environment variable {ENVIRONMENT_VARIABLE}")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "  ")
    assert found() == ("SG_stored", "the system's keyring")


def test_it_is_kept_in_the_keyring_and_forgotten_everywhere(keyring):
    assert remember_key(ApiKey(TEXT)) == "the system's keyring"
    assert keyring.stored == {("napari-sam3", "segmind"): TEXT}
    forget_key()
    assert keyring.stored == {}
    assert find_key() is None


def test_without_a_keyring_it_is_kept_for_the_session(no_keyring):
    assert remember_key(ApiKey(TEXT)) == "this session only"
    assert found() == (TEXT, "this session only")
    forget_key()
    assert find_key() is None


def test_a_keyring_that_fails_or_forgets_is_as_good_as_none(keyring):
    def fails(*_):
        raise RuntimeError(f"locked: {TEXT}")

    keyring.set_password = lambda *_: None
    assert remember_key(ApiKey(TEXT)) == "this session only"
    keyring.get_password = keyring.set_password = keyring.delete_password = fails
    assert remember_key(ApiKey(TEXT)) == "this session only"
    assert found() == (TEXT, "this session only")
    forget_key()
    assert find_key() is None


@pytest.mark.parametrize("stored", [None, "", "  ", 7, b"SG_x"])
def test_a_keyring_with_nothing_of_use_is_passed_over(keyring, stored):
    keyring.get_password = lambda *_: stored
    assert find_key() is None


@pytest.mark.parametrize(
    "text",
    ["", "  ", "SG_a b", "SG_a\nx-other: 1", "SG_a\rb", "SG_ä", "SG_\x00", "SG_\x7f", "“SG_a”"],
)
def test_what_cannot_be_a_header_is_refused_without_being_repeated(text):
    with pytest.raises(AuthenticationError) as caught:
        ApiKey(text)
    assert "Copy it again" in str(caught.value)
    assert not text.strip() or text not in str(caught.value)


def test_an_impossible_key_in_the_environment_is_told(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "SG_secret word")
    with pytest.raises(AuthenticationError) as caught:
        find_key()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", [TEXT, "SG_x", "sk-1234", "SG_", "SG_a-b"])
def test_an_odd_key_is_taken(text):
    assert ApiKey(f" {text}\n").reveal() == text


@dataclasses.dataclass
class Holder:
    key: ApiKey


def test_it_shows_nowhere_by_itself(caplog):
    key = ApiKey(TEXT)
    engine = SegmindEngine(SegmindOptions(), key)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("t").debug("%s %r %s", key, Holder(key), f"{key}")
    shown = [str(key), repr(key), f"{key}", repr([key]), repr(Holder(key)), repr(vars(engine))]
    shown += [caplog.text, repr(engine), repr(SegmindTicket(None))]
    assert not any(TEXT in text for text in shown)
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize(
    "copying", [pickle.dumps, copy.copy, copy.deepcopy, lambda key: dataclasses.asdict(Holder(key))]
)
def test_it_is_not_copied_to_where_it_could_be_stored(copying):
    with pytest.raises(TypeError) as caught:
        copying(ApiKey(TEXT))
    assert TEXT not in str(caught.value)


def test_everything_like_a_key_is_taken_out_of_a_text():
    text = f"a {TEXT} b SG_other1 c odd-key d"
    assert redacted(text) == "a SG_… b SG_… c odd-key d"
    assert redacted(text, ApiKey("odd-key")) == "a SG_… b SG_… c … d"


def test_no_log_of_a_library_shows_it(start, engine_for, kit, caplog):
    server = start()
    with caplog.at_level(logging.DEBUG):
        engine_for(server).segment(kit.question())
    assert "127.0.0.1" in caplog.text
    assert server.key not in caplog.text


def test_a_short_key_does_not_spoil_an_answer(start, engine_for, kit):
    server = start(key="P")
    assert len(engine_for(server, api="v1").segment(kit.question()).instances) == 1
