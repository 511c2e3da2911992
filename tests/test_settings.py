import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from napari_sam3.settings import (
    CACHE_MAX_MB,
    CAP_PER_DAY,
    CAP_PER_RUN,
    PROJECT,
    Settings,
    cache_folder,
    data_folder,
    read_settings,
    settings_path,
    settings_problem,
    write_setting,
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_SAM3_CONFIG", str(tmp_path / "deep" / "er"))
    return tmp_path


def test_a_setting_is_remembered_beside_the_others():
    assert read_settings() == Settings()
    assert write_setting(PROJECT, "kidney")
    assert write_setting(CACHE_MAX_MB, 3)
    assert read_settings() == Settings(project="kidney", cache_max_mb=3.0)
    assert json.loads(settings_path().read_text()) == {"project": "kidney", "cache_max_mb": 3}


def test_what_another_version_has_set_stays():
    damage('{"colour": "green"}')
    assert read_settings() == Settings()
    assert write_setting(PROJECT, "kidney")
    assert json.loads(settings_path().read_text()) == {"project": "kidney", "colour": "green"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (CAP_PER_RUN, "much"),
        (CAP_PER_RUN, -1),
        (CAP_PER_DAY, True),
        (CAP_PER_DAY, []),
        (CAP_PER_DAY, 10**400),
        (CACHE_MAX_MB, float("inf")),
        ("confirm_above", float("nan")),
        # no number of dollars: that could only mean that anything may be spent without a word
        ("confirm_above", None),
        (PROJECT, 3),
        ("segmind_upload_notice_seen", 1),
    ],
)
def test_what_makes_no_sense_is_not_set_and_no_leave_to_spend(name, value):
    with pytest.raises(ValueError, match=name):
        write_setting(name, value)
    assert not settings_path().exists()
    damage(json.dumps({name: value}))
    assert read_settings() == Settings()
    assert "the limits on what may be spent are not known" in settings_problem()


WRITES = """
import sys
from napari_sam3.settings import read_settings, write_setting
for i in range(100):
    assert write_setting(sys.argv[1], i)
    assert getattr(read_settings(), sys.argv[1]) == i, sys.argv[1]
"""


def test_of_what_processes_and_threads_set_at_once_nothing_is_lost():
    names = ["cap_per_day", "cap_per_run", "confirm_above"]
    others = [subprocess.Popen([sys.executable, "-c", WRITES, name]) for name in names]
    lost = []

    def write(name, make):
        for i in range(100):
            written = write_setting(name, make(i))
            if not written or getattr(read_settings(), name) != make(i):
                lost.append((name, i))

    threads = [
        threading.Thread(target=write, args=each)
        for each in (("cache_max_mb", float), ("project", str))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait() for process in others] == [0, 0, 0]
    assert not lost
    expected = dict.fromkeys([*names, "cache_max_mb"], 99) | {"project": "99"}
    assert json.loads(settings_path().read_text()) == expected


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_only_this_user_may_read_what_is_remembered(tmp_path):
    before = os.umask(0)
    try:
        assert write_setting(PROJECT, "green")
        damage()
        assert write_setting(PROJECT, "green")
    finally:
        os.umask(before)
    paths = [*tmp_path.rglob("*")]
    assert len(paths) == 5
    assert {path.stat().st_mode & 0o077 for path in paths if path.name[-8:] != ".damaged"} == {0}


DAMAGED = ["", "{", "[1, 2]", "\x00\xff", '"text"', "[" * 200_000]


def damage(text="{", name="settings.json"):
    settings_path().parent.mkdir(parents=True, exist_ok=True)
    settings_path().with_name(name).write_text(text)


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_counts_as_empty_and_is_kept_by_the_next_write(text):
    damage(text)
    assert read_settings() == Settings()
    assert write_setting(PROJECT, "green")
    assert read_settings().project == "green"
    assert write_setting(CACHE_MAX_MB, 3)
    assert settings_path().with_name("settings.json.damaged").read_text() == text
    names = {path.name for path in settings_path().parent.iterdir()}
    assert names == {"settings.json", "settings.json.damaged", "settings.lock"}


@pytest.mark.parametrize("text", DAMAGED)
def test_limits_that_cannot_be_read_are_a_problem_that_says_what_to_do(text):
    assert settings_problem() == ""
    assert write_setting(PROJECT, "green")
    assert settings_problem() == ""
    damage(text)
    assert str(settings_path()) in settings_problem()
    assert "napari-sam3 limits" in settings_problem()


def test_a_file_that_nobody_may_read_is_a_problem(monkeypatch):
    write_setting(CAP_PER_RUN, 0.5)

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert "cannot be read (Permission denied)" in settings_problem()
        assert read_settings() == Settings()
    assert (settings_problem(), read_settings().cap_per_run) == ("", 0.5)


def test_a_lost_cap_is_a_problem_until_it_is_set_anew():
    damage()
    # what is written by itself, without the user
    write_setting("segmind_upload_notice_seen", True)
    assert "settings.json.damaged" in settings_problem()
    write_setting(CAP_PER_RUN, 1.0)
    assert settings_problem() != ""
    write_setting(CAP_PER_DAY, None)
    assert settings_problem() == ""


def test_whoever_removes_the_damaged_file_has_the_usual_caps():
    damage()
    settings_path().unlink()
    assert settings_problem() == ""
    damage()
    write_setting(PROJECT, "green")
    settings_path().with_name("settings.json.damaged").unlink()
    assert settings_problem() == ""


def test_a_damaged_file_that_cannot_be_moved_is_not_overwritten():
    damage("{ mine")
    (settings_path().with_name("settings.json.damaged") / "in the way").mkdir(parents=True)
    assert not write_setting(PROJECT, "green")
    assert settings_path().read_text() == "{ mine"
    names = {path.name for path in settings_path().parent.iterdir()}
    assert names == {"settings.json", "settings.json.damaged", "settings.lock"}


@pytest.mark.parametrize(
    ("variable", "folder_of"),
    [
        ("NAPARI_SAM3_CACHE", cache_folder),
        ("NAPARI_SAM3_DATA", data_folder),
        ("NAPARI_SAM3_CONFIG", lambda: settings_path().parent),
    ],
)
def test_a_folder_stays_the_same_when_the_program_goes_elsewhere(
    tmp_path, monkeypatch, variable, folder_of
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for said in ("here", "./here", "~/here", str(tmp_path / "here")):
        monkeypatch.setenv(variable, said)
        assert folder_of() == tmp_path / "here"
    monkeypatch.setenv(variable, "~no such user/here")
    assert folder_of() == tmp_path / "~no such user" / "here"


def test_a_cache_folder_that_is_set_is_absolute_too(tmp_path, monkeypatch):
    monkeypatch.delenv("NAPARI_SAM3_CACHE", raising=False)
    monkeypatch.chdir(tmp_path)
    write_setting("cache_folder", "answers")
    assert cache_folder() == tmp_path / "answers"


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(folder):
    (folder / "deep").write_text("a file where the folder should be")
    assert not write_setting(PROJECT, "green")
    assert read_settings() == Settings()


def test_no_half_written_file_is_left_behind():
    write_setting(PROJECT, "green")
    names = {path.name for path in settings_path().parent.iterdir()}
    assert names == {"settings.json", "settings.lock"}


def test_without_the_variable_it_lies_in_the_platforms_folder(monkeypatch):
    monkeypatch.delenv("NAPARI_SAM3_CONFIG")
    assert settings_path().parent.name == "napari-sam3"


def test_settings_that_are_a_link_stay_one(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_SAM3_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "mine.json").write_text('{"project": "cells"}')
    settings_path().symlink_to(tmp_path / "mine.json")
    assert write_setting("cap_per_day", 3.0)
    assert settings_path().is_symlink()
    assert json.loads((tmp_path / "mine.json").read_text()) == {
        "cap_per_day": 3.0,
        "project": "cells",
    }
