"""What happens when the ledger's file is damaged, foreign, locked, full or out of reach."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest

from napari_sam3.errors import LedgerError
from napari_sam3.jobs import ledger_file
from napari_sam3.jobs.ledger import Ledger, Origin

HERE = Origin("run-1", "session-1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def open_ledger(path):
    opened = []

    def make(at=path):
        opened.append(Ledger(at))
        return opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(ledger_file, "BUSY_S", 0.05)


def plan(ledger, key="k"):
    return ledger.plan(HERE, "segmind", "sam3-image", [(key, "nucleus")], 0.05)[0]


def filled(path, count=300):
    ledger = Ledger(path)
    ledger.plan(HERE, "segmind", "sam3", [(f"{n:064}", "nucleus") for n in range(count)], 0.05)
    ledger.close()


def set_aside(path):
    return sorted(path.parent.glob("ledger.set-aside-*.sqlite"))


def raw(path, *statements):
    db = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


def garbage(path):
    path.write_bytes(bytes(range(256)) * 64)


def zeros(path):
    path.write_bytes(bytes(8192))


def text(path):
    path.write_text("Dear diary", encoding="utf-8")


def another_program(path):
    raw(path, "CREATE TABLE bookmarks (url TEXT)", "PRAGMA user_version=7")


def truncated(path):
    filled(path)
    os.truncate(path, path.stat().st_size // 2)


def cut_within_the_first_page(path):
    filled(path)
    os.truncate(path, 1000)


def overwritten_within(path):
    filled(path)
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(20_000))


def without_a_table(path):
    filled(path)
    raw(path, "DROP TABLE tickets")


def emptied(path):
    filled(path)
    os.truncate(path, 0)


def without_any_table(path):
    filled(path)
    tables = "entries", "tickets"
    raw(path, *(f"DROP TABLE {table}" for table in tables), "VACUUM")


UNUSABLE = [
    emptied,
    without_any_table,
    garbage,
    zeros,
    text,
    another_program,
    truncated,
    cut_within_the_first_page,
    overwritten_within,
    without_a_table,
]


class TestUnusableFile:
    @pytest.mark.parametrize("make", UNUSABLE)
    def test_it_is_kept_as_it_was_and_a_new_one_begun(self, path, open_ledger, make):
        make(path)
        before = path.read_bytes()
        ledger = open_ledger()
        ledger.submit(plan(ledger))
        (kept,) = set_aside(path)
        assert kept.read_bytes() == before
        (notice,) = ledger.notices
        assert str(kept) in notice
        assert [entry.state for entry in ledger.entries()] == ["submitted"]

    def test_the_new_one_is_sound_for_the_next_program(self, path, open_ledger):
        garbage(path)
        entry_id = plan(open_ledger())
        other = open_ledger()
        assert ([e.id for e in other.entries()], other.notices) == ([entry_id], ())
        assert len(set_aside(path)) == 1

    def test_every_damaged_file_gets_a_name_of_its_own(self, path, open_ledger):
        for content in (b"first" * 500, b"second" * 500):
            path.write_bytes(content)
            open_ledger().entries()
        assert [kept.read_bytes()[:6] for kept in set_aside(path)] == [b"firstf", b"second"]

    def test_an_old_number_never_means_a_question_of_the_new_file(self, path, open_ledger):
        filled(path, 3)
        old = open_ledger()
        old_ids = [entry.id for entry in old.entries()]
        old.close()
        os.truncate(path, 5000)
        ledger = open_ledger()
        assert plan(ledger) not in old_ids
        with pytest.raises(LedgerError, match="replaced"):
            ledger.answer(old_ids[0], 0.04, 3.0)

    def test_a_file_that_another_process_just_replaced_is_not_set_aside(
        self, path, open_ledger, monkeypatch
    ):
        garbage(path)
        alone = ledger_file.alone

        @contextmanager
        def after_another(path, wait_s):
            monkeypatch.setattr(ledger_file, "alone", alone)
            plan(open_ledger(), "of another process")
            with alone(path, wait_s):
                yield

        monkeypatch.setattr(ledger_file, "alone", after_another)
        ledger = open_ledger()
        assert [entry.key for entry in ledger.entries()] == ["of another process"]
        assert (len(set_aside(path)), ledger.notices) == (1, ())

    @pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files where they are")
    @pytest.mark.parametrize("step", ["_judge", "_check", "_use_wal"])
    def test_a_file_that_is_set_aside_while_it_is_opened_is_judged_again(
        self, path, open_ledger, monkeypatch, step
    ):
        filled(path, 3)
        usual = getattr(ledger_file, step)

        def while_another_sets_it_aside(db):
            monkeypatch.setattr(ledger_file, step, usual)
            ledger_file._set_aside(path)
            plan(open_ledger(), "of another process")
            return usual(db)

        monkeypatch.setattr(ledger_file, step, while_another_sets_it_aside)
        ledger = open_ledger()
        plan(ledger, "own")
        assert [entry.key for entry in ledger.entries()] == ["own", "of another process"]
        assert set_aside(path) != []

    @pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
    def test_only_this_user_may_read_the_ledger_and_all_that_lies_beside_it(self, tmp_path):
        path = tmp_path / "deep" / "er" / "ledger.sqlite"
        before = os.umask(0)
        try:
            filled(path)
            os.truncate(path, 5000)
            ledger = Ledger(path)
            plan(ledger)
            names = {each.name for each in path.parent.iterdir()}
            modes = {each.stat().st_mode & 0o077 for each in (tmp_path / "deep").rglob("*")}
            ledger.close()
        finally:
            os.umask(before)
        assert names >= {
            *("ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "ledger.lock"),
            "ledger.begun",
            "ledger.set-aside-1.sqlite",
        }
        assert modes | {(tmp_path / "deep").stat().st_mode & 0o077} == {0}

    def test_damage_found_in_the_middle_of_work_is_said_and_mended(self, path, open_ledger):
        filled(path, 3000)
        ledger = open_ledger()
        plan(ledger)
        # another process has the open file written to: this one's pages are read anew
        raw(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xee" * (path.stat().st_size - 4096))
        raw_change = sqlite3.connect(path)
        raw_change.execute("PRAGMA user_version=1")
        raw_change.commit()
        raw_change.close()
        with pytest.raises(LedgerError, match=r"damaged, so nothing was sent.*Try again"):
            ledger.entries()
        plan(ledger)
        assert len(ledger.notices) == len(set_aside(path)) == 1

    def test_the_journal_of_an_emptied_file_is_kept_with_it(self, path, open_ledger):
        filled(path)
        journal = path.with_name(f"{path.name}-wal")
        # as a process leaves it that ends without closing
        os.truncate(path, 0)
        journal.write_bytes(b"what was written last")
        plan(open_ledger())
        (kept,) = set_aside(path)
        assert kept.with_name(f"{kept.name}-wal").read_bytes() == b"what was written last"

    def test_one_that_was_removed_is_told_of(self, path, open_ledger):
        filled(path)
        path.unlink()
        ledger = open_ledger()
        plan(ledger)
        (notice,) = ledger.notices
        assert "was removed" in notice
        assert set_aside(path) == []

    def test_a_folder_that_was_emptied_has_no_history(self, path, open_ledger):
        filled(path)
        for part in path.parent.iterdir():
            part.unlink()
        ledger = open_ledger()
        plan(ledger)
        assert ledger.notices == ()

    @pytest.mark.parametrize("size", [0, None])
    def test_an_empty_file_is_a_new_ledger(self, path, open_ledger, size):
        if size == 0:
            path.touch()
        else:
            raw(path, "CREATE TABLE t (a)", "DROP TABLE t")
        ledger = open_ledger()
        plan(ledger)
        assert (ledger.notices, set_aside(path)) == ((), [])

    @pytest.mark.parametrize("action", [Path.unlink, lambda p: p.rename(p.with_name("moved"))])
    @pytest.mark.skipif(os.name == "nt", reason="Windows keeps open files where they are")
    def test_a_file_taken_away_is_not_written_to_any_more(self, path, open_ledger, action):
        ledger = open_ledger()
        plan(ledger)
        action(path)
        plan(ledger, "another")
        assert [entry.key for entry in open_ledger().entries()] == ["another"]


class TestOtherVersions:
    def test_a_ledger_from_the_future_is_left_alone(self, path, open_ledger):
        filled(path, 3)
        raw(path, "ALTER TABLE entries ADD COLUMN mood TEXT", "PRAGMA user_version=2")
        before = path.read_bytes()
        with pytest.raises(LedgerError, match=r"newer napari-sam3.*Update.*NAPARI_SAM3_DATA"):
            plan(open_ledger())
        assert path.read_bytes() == before
        assert set_aside(path) == []


class TestLocked:
    def test_nobody_else_writes_between_the_checks_of_a_submit_and_its_change(self, path):
        tried = []

        def clock():
            if tried:
                other = sqlite3.connect(path, timeout=0, isolation_level=None)
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("BEGIN IMMEDIATE")
                other.close()
                tried.append("and failed")
            return 1e9

        ledger = Ledger(path, clock)
        entry_id = plan(ledger)
        tried.append("armed")
        ledger.submit(entry_id)
        ledger.close()
        assert tried == ["armed", "and failed"]

    def test_a_ledger_in_use_is_not_taken_for_damaged(self, path, open_ledger, impatient):
        ledger = open_ledger()
        entry_id = plan(ledger)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"in use.*nothing was sent or billed"):
            ledger.submit(entry_id)
        other.execute("ROLLBACK")
        other.close()
        ledger.submit(entry_id)
        assert (ledger.notices, set_aside(path)) == ((), [])

    def test_one_that_is_locked_when_opened_is_not_taken_for_damaged(
        self, path, open_ledger, impatient
    ):
        filled(path, 3)
        raw(path, "PRAGMA journal_mode=DELETE")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        ledger = open_ledger()
        with pytest.raises(LedgerError, match="in use"):
            ledger.entries()
        other.close()
        assert len(ledger.entries()) == 3
        assert set_aside(path) == []

    def test_reading_does_not_wait_for_who_writes(self, path, open_ledger, impatient):
        filled(path, 3)
        other = sqlite3.connect(path, isolation_level=None)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        other.execute("BEGIN IMMEDIATE")
        assert len(open_ledger().entries()) == 3
        other.close()

    def test_it_works_where_write_ahead_logging_does_not(self, path, open_ledger, monkeypatch):
        connect = sqlite3.connect

        def without_shared_memory(path, **options):
            return connect(f"file:{path}?vfs=unix-dotfile", uri=True, **options)

        try:
            without_shared_memory(path.with_name("probe")).close()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no such file system")
        monkeypatch.setattr(sqlite3, "connect", without_shared_memory)
        ledger = open_ledger()
        ledger.submit(plan(ledger))
        ledger.close()
        assert ledger.entries()[0].state == "submitted"
        assert not path.with_name("ledger.sqlite-wal").exists()


class TestOutOfReach:
    @pytest.mark.parametrize("inner", ["ledger.sqlite", "a/b/ledger.sqlite"])
    def test_a_folder_that_cannot_be_made_is_named_with_a_remedy(
        self, tmp_path, open_ledger, inner
    ):
        in_the_way = tmp_path / "file"
        in_the_way.write_text("in the way")
        with pytest.raises(
            LedgerError, match=r"cannot be written at .*nothing was sent.*NAPARI_SAM3_DATA"
        ):
            plan(open_ledger(in_the_way / inner))

    def test_a_folder_in_place_of_the_file_is_an_error_and_stays(self, path, open_ledger):
        (path / "inside").mkdir(parents=True)
        with pytest.raises(LedgerError, match="cannot be written at"):
            plan(open_ledger())
        assert (path / "inside").is_dir()

    def test_it_works_once_the_obstacle_is_gone(self, path, open_ledger):
        path.mkdir()
        ledger = open_ledger()
        with pytest.raises(LedgerError):
            plan(ledger)
        path.rmdir()
        plan(ledger)

    def test_a_read_only_file_can_be_read_but_sends_nothing(self, path, open_ledger, monkeypatch):
        filled(path, 3)
        connect = sqlite3.connect
        monkeypatch.setattr(
            sqlite3, "connect", lambda path, **o: connect(f"file:{path}?mode=ro", uri=True, **o)
        )
        ledger = open_ledger()
        entries = ledger.entries()
        assert len(entries) == 3
        for write in (lambda: plan(ledger), lambda: ledger.submit(entries[0].id)):
            with pytest.raises(LedgerError, match=r"cannot be written at.*nothing was sent"):
                write()

    @pytest.mark.skipif(not hasattr(os, "setuid"), reason="POSIX permissions")
    @pytest.mark.parametrize("has_file", [True, False])
    def test_a_read_only_folder_is_an_error(self, has_file):
        # below tmp_path only its owner may look, and permissions do not stop root
        folder = Path(tempfile.mkdtemp(prefix="napari-sam3-"))
        try:
            path = folder / "ledger.sqlite"
            if has_file:
                filled(path, 3)
                path.chmod(0o444)
            folder.chmod(0o555)
            said = in_another_process(
                f"""
                ledger = Ledger(Path({str(path)!r}))
                if os.getuid() == 0:
                    os.setgid(65534), os.setuid(65534)
                try:
                    ledger.plan(Origin("r", "s"), "e", "m", [("k", "w")], 0.05)
                except LedgerError as error:
                    print(error)
                """
            )
        finally:
            folder.chmod(0o755)
            shutil.rmtree(folder)
        assert "cannot be written at" in said
        assert "nothing was sent or billed" in said

    @pytest.mark.skipif(sys.platform != "linux", reason="no limit on the size of a file")
    def test_a_full_disk_is_said_and_what_was_written_stays(self, path):
        said = in_another_process(
            f"""
            import resource
            ledger = Ledger(Path({str(path)!r}))
            first = ledger.plan(Origin("r", "s"), "e", "m", [("first", "w")], 0.05)[0]
            ledger.submit(first)
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
            many = [(f"{{n:064}}", "w") for n in range(10_000)]
            for write in (
                lambda: ledger.plan(Origin("r", "s"), "e", "m", many, 0.05),
                lambda: ledger.accept(first, "request", bytes(1_000_000)),
            ):
                try:
                    write()
                except LedgerError as error:
                    print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            ledger.answer(first, 0.04, 3.0)
            print([(entry.key, entry.state) for entry in ledger.entries()])
            """
        )
        planning, accepting, kept = said.splitlines()
        assert "disk is full or failing, so nothing was sent or billed. Make room" in planning
        assert "disk is full or failing, so what became of a request that was sent" in accepting
        assert kept == "[('first', 'answered')]"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
    def test_a_forked_process_leaves_the_open_file_alone(self, path):
        said = in_another_process(
            f"""
            ledger = Ledger(Path({str(path)!r}))
            ledger.plan(Origin("r", "s"), "e", "m", [("k", "w")], 0.05)
            child = os.fork()
            if child == 0:
                try:
                    ledger.entries()
                except LedgerError as error:
                    print(error, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print(len(ledger.entries()))
            """
        )
        assert "forked" in said
        assert said.splitlines()[-1] == "1"


def in_another_process(program):
    head = (
        "import os\nfrom pathlib import Path\nfrom napari_sam3.errors import LedgerError\n"
        "from napari_sam3.jobs.ledger import Ledger, Origin\n"
        "import napari_sam3.jobs.owners; napari_sam3.jobs.owners.here()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
