import json

import pytest

from napari_sam3.settings import read_setting, settings_path, write_setting


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_SAM3_CONFIG", str(tmp_path / "deep" / "er"))
    return tmp_path


def test_a_setting_is_remembered_beside_the_others():
    assert read_setting("colour", "red") == "red"
    assert write_setting("colour", "green")
    assert write_setting("size", 3)
    assert (read_setting("colour"), read_setting("size")) == ("green", 3)
    assert json.loads(settings_path().read_text()) == {"colour": "green", "size": 3}


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00\xff"])
def test_a_damaged_file_counts_as_empty_and_is_mended_by_the_next_write(text):
    settings_path().parent.mkdir(parents=True)
    settings_path().write_text(text)
    assert read_setting("colour", "red") == "red"
    assert write_setting("colour", "green")
    assert read_setting("colour") == "green"


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(folder):
    (folder / "deep").write_text("a file where the folder should be")
    assert not write_setting("colour", "green")
    assert read_setting("colour", "red") == "red"


def test_no_half_written_file_is_left_behind():
    write_setting("colour", "green")
    assert [path.name for path in settings_path().parent.iterdir()] == ["settings.json"]


def test_without_the_variable_it_lies_in_the_platforms_folder(monkeypatch):
    monkeypatch.delenv("NAPARI_SAM3_CONFIG")
    assert settings_path().parent.name == "napari-sam3"
