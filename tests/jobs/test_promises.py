"""Promises across the parts that a change once broke, or could have broken, without a test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from napari_sam3.errors import LedgerError, OutcomeUnknownError
from napari_sam3.jobs import ledger_file, owners
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.consent import Consent, Purse
from napari_sam3.jobs.ledger import Ledger, Origin
from napari_sam3.jobs.paid import PaidEngine

from . import test_cache
from .paid import key_for, request_for

HERE = Origin("run-1", "session-1")
LINUX = sys.platform == "linux"


def submitted(ledger, key):
    entry_id = ledger.plan(HERE, "segmind", "sam3-image", [(key, "nucleus")], 0.05)[0]
    ledger.submit(entry_id)
    ledger.accept(entry_id, f"request-{key}", key.encode())
    return entry_id


class TestNumbersOfQuestions:
    @pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files where they are")
    def test_no_process_closes_anothers_question_after_the_file_was_deleted(self, tmp_path):
        path = tmp_path / "ledger.sqlite"
        ours, theirs = Ledger(path), Ledger(path)
        mine = submitted(ours, "mine")
        for part in tmp_path.iterdir():
            part.unlink()
        other = submitted(theirs, "other")
        for write in (
            lambda: ours.answer(mine, 0.04, 3.0),
            lambda: ours.fail(mine, "no"),
            lambda: ours.lose(mine, "lost", keep_ticket=False),
        ):
            with pytest.raises(LedgerError, match="replaced"):
                write()
        (entry,) = theirs.entries()
        assert (entry.id, entry.state, theirs.packed(other)) == (other, "submitted", b"other")
        ours.close(), theirs.close()

    def test_no_two_files_count_from_the_same_number(self, tmp_path, monkeypatch):
        # a clock that stands still, as one that is set back again and again
        monkeypatch.setattr(ledger_file.time, "time", lambda: 1.7e9)
        seen = set()
        for number in range(5):
            ledger = Ledger(tmp_path / f"{number}.sqlite")
            asked = [(f"{n:064}", "nucleus") for n in range(40)]
            ids = ledger.plan(HERE, "segmind", "sam3-image", asked, 0.05)
            ledger.close()
            assert ids == list(range(ids[0], ids[0] + 40))
            # exact in JSON and JavaScript, too
            assert ids[-1] < 1 << 53
            seen |= set(ids)
        assert len(seen) == 200


@pytest.fixture
def other_process():
    program = "from napari_sam3.jobs import owners; print(owners.here(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.owner = process.stdout.readline().strip()
        yield process
        process.kill()


def shifted(monkeypatch, seconds):
    """Let all processes look as if they began at another time, as after a clock was set."""
    create_time = psutil.Process.create_time
    monkeypatch.setattr(
        psutil.Process, "create_time", lambda process: create_time(process) + seconds
    )


class TestOwners:
    @pytest.mark.skipif(not LINUX, reason="elsewhere a start is told by the clock")
    @pytest.mark.parametrize("seconds", [-7200.0, -2.0, 2.0, 7200.0])
    def test_a_process_lives_whatever_its_clock_is_set_to(
        self, other_process, monkeypatch, seconds
    ):
        shifted(monkeypatch, seconds)
        assert owners.lives(other_process.owner) is True
        other_process.kill()
        other_process.wait()
        assert owners.lives(other_process.owner) is False

    @pytest.mark.parametrize("seconds", [-30.0, 0.0, 30.0])
    def test_where_a_start_is_told_by_the_clock_that_may_be_corrected(
        self, other_process, monkeypatch, tmp_path, seconds
    ):
        pid = other_process.pid
        began = psutil.Process(pid).create_time()
        monkeypatch.setattr(owners, "_PROC", tmp_path)
        assert owners._name.__wrapped__(pid) == f"{socket.gethostname()} {pid} {began!r}"
        shifted(monkeypatch, seconds)
        assert owners.lives(f"{socket.gethostname()} {pid} {began!r}") is True
        assert owners.lives(f"{socket.gethostname()} {pid} {began - 200!r}") is False
        other_process.kill()
        other_process.wait()
        assert owners.lives(f"{socket.gethostname()} {pid} {began!r}") is False

    @pytest.mark.skipif(not LINUX, reason="elsewhere a start is told by the clock")
    def test_an_id_that_is_used_again_is_another_process(self, other_process):
        host, pid, start = other_process.owner.rsplit(" ", 2)
        boot, ticks = start.split("/")
        assert owners.lives(f"{host} {pid} {boot}/{ticks}") is True
        assert owners.lives(f"{host} {pid} {boot}/{int(ticks) - 1}") is False
        # the computer was started anew, and its clock ticks from zero again
        assert owners.lives(f"{host} {pid} another-boot/{ticks}") is False
        assert owners.lives(f"elsewhere {pid} {boot}/{ticks}") is None

    @pytest.mark.skipif(not LINUX, reason="needs /proc")
    def test_a_killed_process_that_nobody_has_reaped_is_dead(self, other_process):
        other_process.kill()
        os.waitid(os.P_PID, other_process.pid, os.WEXITED | os.WNOWAIT)
        assert owners.lives(other_process.owner) is False

    @pytest.mark.skipif(not LINUX, reason="needs /proc")
    def test_the_name_of_a_program_does_not_confuse(self, tmp_path, monkeypatch):
        (tmp_path / "sys/kernel/random").mkdir(parents=True)
        (tmp_path / "sys/kernel/random/boot_id").write_text("boot\n")
        (tmp_path / "77").mkdir()
        stat = (Path("/proc/self/stat").read_bytes().rpartition(b")")[2]).split()
        stat[0], stat[19] = b"S", b"4711"
        (tmp_path / "77/stat").write_bytes(b"77 (a) Z 1 (b)) " + b" ".join(stat))
        monkeypatch.setattr(owners, "_PROC", tmp_path)
        assert owners.lives(f"{socket.gethostname()} 77 boot/4711") is True
        assert owners.lives(f"{socket.gethostname()} 78 boot/4711") is False


class TestEviction:
    def test_the_answer_used_longest_ago_goes_first(self, tmp_path):
        cache = AnswerCache(tmp_path, 4 * test_cache.SIZE + 50)
        for number in (3, 1, 4, 2):
            test_cache.put(cache, number)
        for number in (4, 3):
            cache.get(test_cache.key_of(number))
        # from the longest unused on: 1, 2, 4, 3
        gone = []
        for number in (5, 6, 7, 8):
            test_cache.put(cache, number)
            left = {n for n in range(1, 9) if cache.has(test_cache.key_of(n))}
            gone += [n for n in (1, 2, 4, 3) if n not in left and n not in gone]
        assert gone == [1, 2, 4, 3]


class TestSentOnceMore:
    def test_only_what_was_agreed_to_may_be_sent_once_more(self):
        purse = Purse(Consent(frozenset({"a", "b"}), again=frozenset({"a"})))
        assert (purse.has_again("a"), purse.has_again("b"), purse.has_again("c")) == (
            True,
            False,
            False,
        )
        purse.take("a")
        assert not purse.has_again("a")
        assert not Purse(Consent(frozenset({"a"}))).has_again("a")
        # leave to send again is no leave to pay
        assert not Purse(Consent(frozenset(), again=None)).has_again("a")
        assert Purse(Consent(frozenset({"a"}), again=None)).has_again("a")

    def test_leave_for_one_lost_question_is_no_leave_for_another(self, engine, records, service):
        keys = frozenset({key_for(engine, "a"), key_for(engine, "b")})
        losing = PaidEngine(engine, records, Consent(keys))
        for text in ("a", "b"):
            service.submit_mishaps.append("lost after")
            with pytest.raises(OutcomeUnknownError):
                losing.segment(request_for(text))
        again = frozenset({key_for(engine, "a")})
        asking = PaidEngine(engine, records, Consent(keys, again))
        asking.segment(request_for("a"))
        with pytest.raises(OutcomeUnknownError, match="was not sent again"):
            asking.segment(request_for("b"))
        assert service.sent == ["a", "b", "a"]
