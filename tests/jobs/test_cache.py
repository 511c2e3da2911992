import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3.core.geometry import Box
from napari_sam3.core.instances import Instance, Instances
from napari_sam3.engines.base import AnswerRecord, RawPart, SegmentationResult, Usage
from napari_sam3.errors import CacheError
from napari_sam3.jobs import cache as cache_module
from napari_sam3.jobs.answers import digest, encode_answer
from napari_sam3.jobs.cache import AnswerCache
from tests.tiers import examples

GENEROUS = 1 << 30
HERE = Path(__file__)


def key_of(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def answer(number, raw=300, key=None):
    """An answer that differs with the number, and whose raw part has a given length."""
    rng = np.random.default_rng(number)
    mask = rng.random((4 + number % 5, 6)) < 0.5
    box = Box(1, 2, 1 + mask.shape[0], 8)
    instances = Instances((20, 31), (Instance(mask, box, number / 7, f"n{number}"),))
    key = key_of(number) if key is None else key
    return SegmentationResult(
        instances,
        Usage(0.05, 1.5, f"request-{number}"),
        raw=(RawPart("image/png", rng.bytes(raw)),),
        record=AnswerRecord(key, "i" * 64, digest(instances), "segmind", "sam3", {}, 1.0),
    )


def sha_of(number):
    return digest(answer(number).instances)


def is_answer(stored, number, raw=300):
    expected = answer(number, raw)
    return (
        digest(stored.result.instances) == digest(expected.instances)
        and stored.result.raw[0].body == expected.raw[0].body
        and stored.result.usage == expected.usage
        and stored.question == {"number": number}
    )


def put(cache, number, raw=300, key=None, **options):
    """Store an answer, by default as that to the question of the same number."""
    key = key_of(number if key is None else key)
    cache.put(key, answer(number, raw, key), {"number": number}, **options)


def path_of(cache, number, superseded_by_key=None):
    """Where an answer lies: the one to a question, or a former one to the question of a key."""
    if superseded_by_key is not None:
        key = key_of(superseded_by_key)
        name = f"{key}.{sha_of(number)[:16]}.answer"
    else:
        key = key_of(number)
        name = f"{key}.answer"
    return cache.folder / "answers" / "v1" / key[:2] / name


def files_in(folder, ending=""):
    return sorted(path.name for path in folder.rglob(f"*{ending}") if path.is_file())


@pytest.fixture
def cache(tmp_path):
    return AnswerCache(tmp_path / "cache", GENEROUS)


class TestGetAndPut:
    def test_a_stored_answer_comes_back_whole(self, cache):
        put(cache, 1)
        put(cache, 2)
        assert is_answer(cache.get(key_of(1)), 1)
        assert is_answer(AnswerCache(cache.folder, GENEROUS).get(key_of(2)), 2)
        assert cache.has(key_of(1))

    def test_nothing_is_touched_before_the_first_put(self, cache):
        assert cache.get(key_of(1)) is None
        assert not cache.has(key_of(1))
        assert cache.info().answers == cache.info().bytes == cache.clear() == 0
        assert not cache.folder.exists()

    def test_a_second_put_replaces_the_first(self, cache):
        put(cache, 1)
        put(cache, 9, key=1)
        assert is_answer(cache.get(key_of(1)), 9)

    def test_an_answer_without_a_record_or_with_anothers_is_not_stored(self, cache):
        whole = answer(1)
        other = replace(whole.record, answer_sha256=sha_of(2))
        for wrong in (replace(whole, record=None), replace(whole, record=other)):
            with pytest.raises(CacheError, match="cannot be stored"):
                cache.put(key_of(1), wrong, {})
        assert not cache.has(key_of(1))

    @pytest.mark.parametrize(
        "key",
        ["", "ab", "../" * 21 + "a", "g" * 64, "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n",
         "a" * 32 + "/" + "a" * 31, "٣" * 64, "a" * 63 + "\0", b"a" * 64, None],
    )  # fmt: skip
    def test_a_key_that_is_none_becomes_no_path(self, cache, key):
        for use in (cache.get, cache.has, lambda key: cache.put(key, answer(1), {})):
            with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
                use(key)
        assert not cache.folder.exists()

    @pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
    @pytest.mark.parametrize(("is_private", "file", "folder"), [(True, 0, 0), (False, 0o44, 0o55)])
    def test_others_may_read_what_is_put_only_where_the_user_chose_the_folder(
        self, tmp_path, is_private, file, folder
    ):
        cache = AnswerCache(tmp_path / "own" / "cache", GENEROUS, is_private=is_private)
        before = os.umask(0o022)
        try:
            put(cache, 1)
            # another answer to the question keeps this one beside it
            cache.put(key_of(1), answer(2, key=key_of(1)), {})
            put(cache, 3)
            path_of(cache, 3).write_bytes(b"damaged")
            with pytest.raises(CacheError):
                cache.get(key_of(3))
        finally:
            os.umask(before)
        modes = {path: path.stat().st_mode & 0o077 for path in (tmp_path / "own").rglob("*")}
        kinds = {path.suffix for path in modes if path.is_file()}
        assert (kinds, len(modes)) == ({".answer", ".damaged"}, 8)
        assert all(mode == (folder if path.is_dir() else file) for path, mode in modes.items())

    def test_several_threads_share_one_cache(self, cache):
        wrong = []

        def work(start):
            for number in range(start, start + 12):
                put(cache, number)
                if not is_answer(cache.get(key_of(number)), number):
                    wrong.append(number)

        threads = [threading.Thread(target=work, args=(start,)) for start in (0, 6, 12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert cache.info().answers == 24


class TestDamagedFiles:
    @pytest.mark.parametrize("content", [b"", b"PK", b"no answer", None])
    def test_one_is_reported_once_and_kept_aside(self, cache, content):
        put(cache, 1)
        path = path_of(cache, 1)
        damaged = path.read_bytes()[:-9] if content is None else content
        path.write_bytes(damaged)
        with pytest.raises(CacheError, match="It was set aside in"):
            cache.get(key_of(1))
        assert cache.get(key_of(1)) is None
        assert not cache.has(key_of(1))
        (aside,) = path.parent.glob("*.damaged")
        assert aside.read_bytes() == damaged
        assert (cache.info().answers, cache.info().damaged) == (0, 1)
        put(cache, 1)
        assert is_answer(cache.get(key_of(1)), 1)

    def test_the_evidence_of_a_second_one_does_not_replace_the_first(self, cache):
        for content in (b"first", b"second"):
            put(cache, 1)
            path_of(cache, 1).write_bytes(content)
            with pytest.raises(CacheError):
                cache.get(key_of(1))
        assert {p.read_bytes() for p in cache.folder.rglob("*.damaged")} == {b"first", b"second"}

    def test_an_answer_to_another_question_is_never_given(self, cache):
        result = answer(1)
        with pytest.raises(ValueError, match="another key"):
            cache.put(key_of(2), result, {})
        cache.put(key_of(1), result, {})
        other = path_of(cache, 2)
        other.parent.mkdir(parents=True, exist_ok=True)
        path_of(cache, 1).rename(other)
        with pytest.raises(CacheError, match="another request"):
            cache.get(key_of(2))
        assert cache.get(key_of(2)) is None

    def test_a_sound_answer_that_was_put_meanwhile_is_not_set_aside(self, cache, monkeypatch):
        put(cache, 1)
        path_of(cache, 1).write_bytes(b"damaged")
        decode = cache_module.decode_answer

        def slowly(data):
            monkeypatch.undo()
            put(AnswerCache(cache.folder, GENEROUS), 1)
            return decode(data)

        monkeypatch.setattr(cache_module, "decode_answer", slowly)
        with pytest.raises(CacheError):
            cache.get(key_of(1))
        assert is_answer(cache.get(key_of(1)), 1)

    def test_too_little_memory_is_no_damage(self, cache, monkeypatch):
        def refuse(data):
            raise MemoryError

        put(cache, 1)
        monkeypatch.setattr(cache_module, "decode_answer", refuse)
        with pytest.raises(CacheError, match="not enough memory"):
            cache.get(key_of(1))
        monkeypatch.undo()
        assert is_answer(cache.get(key_of(1)), 1)

    def test_a_file_of_many_gigabytes_is_not_read(self, cache):
        path = path_of(cache, 1)
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(200 << 30)
        with pytest.raises(CacheError, match="damaged"):
            cache.get(key_of(1))

    @pytest.mark.parametrize(
        "asked", [{"shape": (31, 20)}, {"shape": (19, 31)}, {"image_sha256": "j" * 64}]
    )
    def test_an_answer_about_another_picture_is_set_aside(self, cache, asked):
        put(cache, 1)
        with pytest.raises(CacheError, match=r"another picture.*set aside"):
            cache.get(key_of(1), **asked)
        assert cache.get(key_of(1)) is None
        assert cache.info().damaged == 1

    @pytest.mark.parametrize("shape", [(20, 31), [20, 31], None])
    def test_an_answer_about_the_same_picture_is_given(self, cache, shape):
        put(cache, 1)
        assert is_answer(cache.get(key_of(1), shape, "i" * 64), 1)

    def test_moved_masks_are_never_given(self, cache):
        put(cache, 1)
        path = path_of(cache, 1)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        document = json.loads(parts["answer.json"])
        top, left, bottom, right = document["boxes"][0]
        document["boxes"] = [[top + 1, left, bottom + 1, right]]
        with zipfile.ZipFile(path, "w") as archive:
            for name, body in (parts | {"answer.json": json.dumps(document)}).items():
                archive.writestr(name, body)
        with pytest.raises(CacheError, match=r"damaged.*set aside"):
            cache.get(key_of(1))
        assert cache.get(key_of(1)) is None


class TestFormerAnswers:
    def test_one_that_was_replaced_can_still_be_had_by_its_sha256(self, cache):
        for number in (1, 2, 3):
            put(cache, number, key=1)
        for number in (1, 2, 3):
            assert is_answer(cache.get_recorded(key_of(1), sha_of(number)), number)
        assert is_answer(cache.get(key_of(1)), 3)
        assert path_of(cache, 1, superseded_by_key=1).is_file()
        assert cache.info().answers == 3
        assert cache.info().bytes == sum(
            path.stat().st_size for path in cache.folder.rglob("*.answer")
        )

    def test_the_same_answer_again_leaves_no_former_one(self, cache):
        put(cache, 1)
        put(cache, 1)
        assert files_in(cache.folder) == [path_of(cache, 1).name]

    @pytest.mark.parametrize(
        "sha", [sha_of(2), "", "../../x", "a" * 63 + "/", "A" * 64, sha_of(1)[:16], None, 7]
    )
    def test_one_that_is_not_stored_is_none(self, cache, sha):
        put(cache, 1)
        put(cache, 3, key=1)
        assert cache.get_recorded(key_of(1), sha) is None
        assert cache.get_recorded(key_of(5), sha_of(1)) is None

    def test_a_damaged_one_is_reported_and_set_aside(self, cache):
        put(cache, 1)
        put(cache, 2, key=1)
        path_of(cache, 1, superseded_by_key=1).write_bytes(b"damaged")
        with pytest.raises(CacheError, match="set aside"):
            cache.get_recorded(key_of(1), sha_of(1))
        assert cache.get_recorded(key_of(1), sha_of(1)) is None
        assert (cache.info().answers, cache.info().damaged) == (1, 1)
        assert is_answer(cache.get(key_of(1)), 2)

    def test_one_is_found_although_the_current_one_is_damaged(self, cache):
        put(cache, 1)
        put(cache, 2, key=1)
        path_of(cache, 1).write_bytes(b"damaged")
        assert is_answer(cache.get_recorded(key_of(1), sha_of(1)), 1)
        path_of(cache, 1).write_bytes(b"damaged")
        with pytest.raises(CacheError, match="damaged"):
            cache.get_recorded(key_of(1), sha_of(2))

    def test_one_under_anothers_name_is_not_given(self, cache):
        put(cache, 1)
        put(cache, 2, key=1)
        path_of(cache, 1, superseded_by_key=1).rename(path_of(cache, 3, superseded_by_key=1))
        with pytest.raises(CacheError, match="not the one"):
            cache.get_recorded(key_of(1), sha_of(3))

    def test_they_go_first_and_are_cleared(self, tmp_path):
        cache = AnswerCache(tmp_path, 3 * SIZE + 50)
        put(cache, 1)
        put(cache, 2)
        put(cache, 3, key=1)
        assert path_of(cache, 1, superseded_by_key=1).is_file()
        put(cache, 4)
        assert not path_of(cache, 1, superseded_by_key=1).exists()
        put(cache, 5, key=4)
        kept = cache.info().answers
        assert path_of(cache, 4, superseded_by_key=4).is_file()
        assert cache.clear() == kept
        assert files_in(tmp_path) == []

    def test_a_question_never_looks_unasked_while_its_answer_is_replaced(self, cache, monkeypatch):
        put(cache, 1)
        seen = []
        rename = cache_module._rename

        def look(*paths):
            rename(*paths)
            seen.append(AnswerCache(cache.folder, GENEROUS).has(key_of(1)))

        monkeypatch.setattr(cache_module, "_rename", look)
        put(cache, 2, key=1)
        assert seen == [True, True]

    def test_a_new_answer_is_stored_although_the_former_cannot_be_kept(self, cache, monkeypatch):
        put(cache, 1)
        write = AnswerCache._write

        def refuse(self, path, data):
            if len(path.name) > 80:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(self, path, data)

        monkeypatch.setattr(AnswerCache, "_write", refuse)
        put(cache, 2, key=1)
        assert is_answer(cache.get(key_of(1)), 2)
        assert cache.get_recorded(key_of(1), sha_of(1)) is None

    def test_a_put_may_leave_a_sound_answer_where_it_is(self, cache):
        put(cache, 1)
        put(cache, 2, key=1, replace=False)
        assert is_answer(cache.get(key_of(1)), 1)
        assert files_in(cache.folder) == [path_of(cache, 1).name]
        path_of(cache, 1).write_bytes(b"damaged")
        put(cache, 2, key=1, replace=False)
        assert is_answer(cache.get(key_of(1)), 2)
        put(cache, 3, replace=False)
        assert is_answer(cache.get(key_of(3)), 3)


SIZE = len(encode_answer(answer(1), {"number": 1}))
steps = st.lists(st.tuples(st.sampled_from(["put", "put", "get"]), st.integers(0, 9)), max_size=40)


class TestEviction:
    @examples(25)
    @given(steps, st.integers(1, 6))
    def test_goes_by_last_use_as_in_a_plain_model(self, tmp_path_factory, steps, holds):
        # every encoded answer here is as long as any other
        sizes = {len(encode_answer(answer(n), {"number": n})) for n in range(10)}
        cap = holds * max(sizes) + 50
        cache = AnswerCache(tmp_path_factory.mktemp("cache"), cap)
        model: dict[int, int] = {}
        for what, number in steps:
            if what == "put":
                put(cache, number)
                model.pop(number, None)
                model[number] = path_of(cache, number).stat().st_size
                if sum(model.values()) > cap:
                    for oldest in list(model)[:-1]:
                        if sum(model.values()) <= 0.9 * cap:
                            break
                        del model[oldest]
            else:
                stored = cache.get(key_of(number))
                assert (stored is not None) == (number in model)
                if stored is not None:
                    assert is_answer(stored, number)
                    model[number] = model.pop(number)
        assert {n for n in range(10) if cache.has(key_of(n))} == set(model)
        assert cache.info().bytes == sum(model.values())

    def test_never_takes_the_answer_just_written(self, tmp_path):
        cache = AnswerCache(tmp_path, 10)
        for number in (1, 2):
            put(cache, number)
            assert is_answer(cache.get(key_of(number)), number)
        assert cache.info().answers == 1

    def test_a_clock_that_jumps_back_makes_nothing_old(self, tmp_path, monkeypatch):
        cache = AnswerCache(tmp_path, 4 * SIZE + 50)
        for number in (1, 2, 3):
            put(cache, number)
        year_ago = time.time_ns() - 365 * 24 * 3600 * 10**9
        monkeypatch.setattr(cache_module.time, "time_ns", lambda: year_ago)
        fresh = AnswerCache(tmp_path, 4 * SIZE + 50)
        put(fresh, 4)
        assert fresh.get(key_of(1)) is not None
        put(fresh, 5)
        assert [n for n in range(1, 6) if fresh.has(key_of(n))] == [1, 4, 5]

    def test_notices_what_others_have_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(cache_module, "PUTS_BETWEEN_SCANS", 4)
        cap = 10 * SIZE
        ours, theirs = AnswerCache(tmp_path, cap), AnswerCache(tmp_path, GENEROUS)
        put(ours, 0)
        for number in range(100, 130):
            put(theirs, number)
        for number in range(1, 5):
            put(ours, number)
        assert ours.info().bytes <= cap
        assert all(ours.has(key_of(number)) for number in range(1, 5))

    def test_does_not_scan_the_folder_at_every_put(self, cache, monkeypatch):
        scans = []
        scan = AnswerCache._scan
        monkeypatch.setattr(AnswerCache, "_scan", lambda self: scans.append(1) or scan(self))
        for number in range(40):
            put(cache, number)
        assert len(scans) == 1

    def test_a_file_in_use_is_left_and_the_next_one_goes(self, tmp_path, monkeypatch):
        cache = AnswerCache(tmp_path, 3 * SIZE + 50)
        for number in (1, 2, 3):
            put(cache, number)
        in_use, unlink = str(path_of(cache, 1)), os.unlink

        def refuse(path, *args, **kwargs):
            if str(path) == in_use:
                raise PermissionError(errno.EACCES, "in use")
            unlink(path, *args, **kwargs)

        monkeypatch.setattr(cache_module.os, "unlink", refuse)
        put(cache, 4)
        assert [n for n in range(1, 5) if cache.has(key_of(n))] == [1, 4]

    def test_what_a_dead_process_left_goes_after_a_day(self, cache):
        put(cache, 1)
        parent = path_of(cache, 1).parent
        old, young = (parent / f"{key_of(1)}.{n * 16}.part" for n in "ab")
        for path in (old, young):
            path.write_bytes(b"half")
        two_days_ago = time.time() - 2 * 24 * 3600
        os.utime(old, (two_days_ago, two_days_ago))
        put(AnswerCache(cache.folder, GENEROUS), 2)
        assert not old.exists()
        assert young.exists()
        assert cache.info().bytes == sum(p.stat().st_size for p in cache.folder.rglob("*.answer"))


class TestClear:
    def test_takes_what_it_knows_and_leaves_what_it_does_not(self, cache):
        for number in (1, 2, 3):
            put(cache, number)
        path_of(cache, 1).write_bytes(b"damaged")
        with pytest.raises(CacheError):
            cache.get(key_of(1))
        foreign = [
            cache.folder / "notes.txt",
            cache.folder / "answers" / "v2.answer",
            path_of(cache, 2).parent / "holiday.answer",
            path_of(cache, 2).parent / f"{key_of(2)}.answer.bak",
        ]
        for path in foreign:
            path.write_text("mine")
        assert cache.clear() == 3
        assert files_in(cache.folder) == sorted(path.name for path in foreign)
        put(cache, 1)
        assert is_answer(cache.get(key_of(1)), 1)

    def test_follows_no_link_out_of_the_folder(self, cache, tmp_path):
        put(cache, 1)
        outside = AnswerCache(tmp_path / "outside", GENEROUS)
        put(outside, 1)
        shards = cache.folder / "answers" / "v1"
        try:
            (shards / "zz").symlink_to(tmp_path / "outside")
            target = path_of(outside, 1).parent
            (shards / ("00" if target.name != "00" else "01")).symlink_to(target)
        except OSError:
            pytest.skip("this system makes no links")
        assert cache.clear() == 1
        assert outside.has(key_of(1))


class TestFoldersThatDoNotWork:
    @staticmethod
    def assert_put_fails_in_a_sentence(cache, number=1):
        with pytest.raises(CacheError, match=r"could not be stored in .*: .+\. The result"):
            put(cache, number)
        assert cache.get(key_of(number)) is None
        assert not cache.has(key_of(number))

    def test_a_file_in_place_of_the_folder(self, tmp_path):
        (tmp_path / "file").write_text("mine")
        cache = AnswerCache(tmp_path / "file", GENEROUS)
        self.assert_put_fails_in_a_sentence(cache)
        for use in (cache.info, cache.clear):
            with pytest.raises(CacheError, match="cannot be listed"):
                use()
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_file_in_the_way_of_some_answers(self, cache):
        put(cache, 2)
        path_of(cache, 1).parent.write_text("mine")
        self.assert_put_fails_in_a_sentence(cache)
        assert is_answer(cache.get(key_of(2)), 2)
        assert cache.info().answers == 1
        assert cache.clear() == 1
        assert path_of(cache, 1).parent.read_text() == "mine"

    def test_a_folder_in_place_of_an_answer(self, cache):
        path_of(cache, 1).mkdir(parents=True)
        with pytest.raises(CacheError, match="could not be stored"):
            put(cache, 1)
        with pytest.raises(CacheError, match="cannot be read"):
            cache.get(key_of(1))
        assert files_in(cache.folder) == []

    @pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody may write")
    def test_a_folder_nobody_may_write(self):
        self.assert_put_fails_in_a_sentence(AnswerCache(Path("/proc/self"), GENEROUS))

    @pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
    def test_a_read_only_share_still_answers(self, cache, monkeypatch, number):
        put(cache, 1)

        def refuse(*args, **kwargs):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(cache_module.os, "utime", refuse)
        monkeypatch.setattr(cache_module.os, "unlink", refuse)
        assert is_answer(cache.get(key_of(1)), 1)
        with pytest.raises(CacheError, match="cannot be removed"):
            cache.clear()

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
    def test_a_folder_nobody_may_look_into_holds_nothing(self, cache, monkeypatch, number):
        put(cache, 1)

        def refuse(*args, **kwargs):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            for name in ("stat", "open", "is_file"):
                patch.setattr(Path, name, refuse)
            assert not cache.has(key_of(1))
            for use in (cache.get, lambda key: cache.get_recorded(key, sha_of(1))):
                with pytest.raises(CacheError, match="cannot be read"):
                    use(key_of(1))
            with pytest.raises(CacheError, match="could not be stored"):
                put(cache, 1)
        assert is_answer(cache.get(key_of(1)), 1)

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file sizes")
    def test_a_full_disk_leaves_nothing_and_says_so(self, cache):
        put(cache, 1)
        run(f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
cache = AnswerCache({str(cache.folder)!r}, GENEROUS)
put(cache, 2)
try:
    put(cache, 3, raw=50_000)
except CacheError as error:
    assert "could not be stored" in str(error)
else:
    raise SystemExit("no error")
""")
        assert is_answer(cache.get(key_of(2)), 2)
        assert cache.get(key_of(3)) is None
        assert len(files_in(cache.folder)) == 2

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
    def test_a_disk_that_fills_up_while_writing_is_said_so(self, cache, monkeypatch):
        full = os.open("/dev/full", os.O_WRONLY)
        monkeypatch.setattr(cache_module, "open_private", lambda *_: os.dup(full))
        with pytest.raises(CacheError, match="No space left on device"):
            put(cache, 1)
        os.close(full)

    def test_a_folder_taken_away_is_made_again(self, cache):
        put(cache, 1)
        for path in sorted(cache.folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        assert cache.get(key_of(1)) is None
        put(cache, 2)
        assert is_answer(cache.get(key_of(2)), 2)


PROGRAM = f"""
import importlib.util, random, sys, time
spec = importlib.util.spec_from_file_location("helpers", {str(HERE)!r})
helpers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(helpers)
globals().update(vars(helpers))
"""


def start(program):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def run(program):
    return finish(start(program))


class TestSeveralProcesses:
    def test_lose_and_corrupt_nothing_while_all_put_and_get(self, tmp_path):
        program = """
cache, rng = AnswerCache(Path({folder!r}), GENEROUS), random.Random({seed})
for _ in range(150):
    number = rng.randrange(60)
    stored = cache.get(key_of(number))
    assert stored is None or is_answer(stored, number), number
    if stored is None or rng.random() < 0.3:
        put(cache, number)
        print(number)
        assert is_answer(cache.get(key_of(number)), number), number
"""
        processes = [start(program.format(folder=str(tmp_path), seed=seed)) for seed in range(3)]
        done = {int(number) for process in processes for number in finish(process).split()}
        cache = AnswerCache(tmp_path, GENEROUS)
        assert len(done) > 40
        assert all(is_answer(cache.get(key_of(number)), number) for number in done)
        assert cache.info().answers == len(done)
        assert len(files_in(tmp_path)) == len(done)

    def test_get_the_right_answer_or_none_while_others_evict_and_clear(self, tmp_path):
        program = """
cache, rng = AnswerCache(Path({folder!r}), 8 * SIZE), random.Random({seed})
hits = 0
for turn in range(200):
    number = rng.randrange(14)
    if {seed} == 0 and turn % 20 == 19:
        cache.clear()
        cache.info()
    elif rng.random() < 0.4:
        put(cache, number)
    else:
        stored = cache.get(key_of(number))
        assert stored is None or is_answer(stored, number), number
        hits += stored is not None
print(hits)
"""
        processes = [start(program.format(folder=str(tmp_path), seed=seed)) for seed in range(3)]
        assert all(int(finish(process)) > 5 for process in processes)
        cache = AnswerCache(tmp_path, 8 * SIZE)
        assert cache.info().damaged == 0
        assert files_in(tmp_path, ".part") == []
        put(cache, 99)
        assert cache.info().bytes <= cache.max_bytes

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
    def test_one_killed_while_it_puts_leaves_nothing_half(self, tmp_path):
        rng = random.Random(1)
        program = f"""
cache = AnswerCache(Path({str(tmp_path)!r}), GENEROUS)
print("ready", flush=True)
for number in range(10_000):
    put(cache, number % 25, raw=400_000)
"""
        cache = AnswerCache(tmp_path, GENEROUS)
        for _ in range(4):
            process = start(program)
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.02, 0.3))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            for number in range(25):
                stored = cache.get(key_of(number))
                assert stored is None or is_answer(stored, number, raw=400_000)
        assert cache.info().damaged == 0
        assert cache.info().answers > 0
        put(cache, 30)
        assert is_answer(cache.get(key_of(30)), 30)
