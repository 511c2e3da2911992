"""What the ledger promises when several processes use it, and when one is killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from napari_sam3.jobs.ledger import InFlightError, Ledger, Origin
from tests.tiers import some

ROUNDS = some(8, fewest=2)

HEAD = """
import sys, time
from pathlib import Path
from napari_sam3.errors import CapReachedError, LedgerError
from napari_sam3.jobs import owners
from napari_sam3.jobs.ledger import Caps, InFlightError, Ledger, Origin
path, name = Path(sys.argv[1]), sys.argv[2]
ledger, origin = Ledger(path), Origin(f"run-{name}", f"session-{name}")
def plan(key):
    return ledger.plan(origin, "segmind", "sam3-image", [(key, "nucleus")], 0.05)[0]
def wait_for_all():
    owners.here()
    print("ready", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path):
    ledger = Ledger(path)
    yield ledger
    ledger.close()


@pytest.fixture
def start(path):
    running = []

    def start(program, name=0):
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD + textwrap.dedent(program), str(path), str(name)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def all_at_once(start, program, count):
    """Start processes, let them go on at the same moment, return what each says."""
    processes = [start(program, name) for name in range(count)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return said


def overwritten(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xee" * (size - 4096))


def emptied(path):
    os.truncate(path, 0)


class TestTogether:
    def test_of_two_processes_that_submit_one_question_exactly_one_sends_it(self, start, ledger):
        said = all_at_once(
            start,
            """
            wait_for_all()
            for round in range(10):
                entry_id = plan(f"the same {round}")
                try:
                    ledger.submit(entry_id)
                    print("sent", round)
                except InFlightError as error:
                    assert error.entry.state == "submitted"
                    ledger.cancel(entry_id)
            """,
            2,
        )
        sent = [line for lines in said for line in lines]
        assert sorted(sent) == sorted(f"sent {number}" for number in range(10))
        under_way = [entry for entry in ledger.entries() if entry.state == "submitted"]
        assert len({entry.key for entry in under_way}) == len(under_way) == 10

    def test_processes_under_one_daily_cap_never_exceed_it(self, start, ledger):
        said = all_at_once(
            start,
            """
            wait_for_all()
            sent = 0
            for number in range(10):
                try:
                    ledger.submit(plan(f"{name}-{number}"), Caps(per_day=1.0))
                    sent += 1
                except CapReachedError:
                    pass
            print(sent)
            """,
            4,
        )
        assert sum(int(lines[0]) for lines in said) == 20
        assert ledger.today() == pytest.approx(1.0)

    def test_processes_that_open_a_fresh_file_at_once_share_one(self, start, ledger, path):
        all_at_once(start, "wait_for_all()\nplan(name)", 4)
        assert sorted(entry.key for entry in ledger.entries()) == ["0", "1", "2", "3"]
        assert not list(path.parent.glob("*set-aside*"))

    def test_processes_that_find_a_damaged_file_set_it_aside_once(self, start, ledger, path):
        path.write_bytes(b"garbage" * 1000)
        said = all_at_once(start, "wait_for_all()\nplan(name)\nprint(len(ledger.notices))", 4)
        assert sum(int(lines[0]) for lines in said) == 1
        (kept,) = path.parent.glob("*set-aside*")
        assert kept.read_bytes() == b"garbage" * 1000
        assert sorted(entry.key for entry in ledger.entries()) == ["0", "1", "2", "3"]

    @pytest.mark.parametrize("damage", [overwritten, emptied])
    def test_processes_that_find_a_lost_file_all_go_on_with_one_new_file(
        self, start, tmp_path, damage
    ):
        """Again and again: one may open the file just while another sets it aside."""
        rounds = [tmp_path / str(number) / "ledger.sqlite" for number in range(ROUNDS)]
        for number, path in enumerate(rounds):
            ledger = Ledger(path)
            keys = [(f"{number} {n}", "nucleus") for n in range(1000)]
            ledger.plan(Origin("run", "session"), "segmind", "sam3-image", keys, 0.05)
            ledger.close()
            damage(path)
        program = f"""
        wait_for_all()
        for number in range({ROUNDS}):
            own = Ledger(path.parent / str(number) / "ledger.sqlite")
            own.plan(origin, "segmind", "sam3-image", [(name, "nucleus")], 0.05)
            print(len(own.notices))
            own.close()
        """
        said = all_at_once(start, program, 4)
        # whoever said it first: one for each file
        assert [sum(map(int, notices)) for notices in zip(*said, strict=True)] == [1] * ROUNDS
        for path in rounds:
            ledger = Ledger(path)
            assert sorted(entry.key for entry in ledger.entries()) == ["0", "1", "2", "3"]
            ledger.close()


def kill(process):
    # communicate() would reap it; a killed process that nobody has reaped yet is dead, too
    process.kill()
    deadline = time.monotonic() + 30
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX only")
class TestKilled:
    def test_nothing_that_was_written_is_lost_by_a_kill(self, start, ledger):
        process = start(
            """
            for number in range(10**6):
                entry_id = plan(str(number))
                ledger.submit(entry_id)
                print(entry_id, "submitted", flush=True)
                ledger.accept(entry_id, f"request-{number}", bytes(5000))
                ledger.answer(entry_id, 0.04, 3.0)
                print(entry_id, "answered", flush=True)
            """
        )
        said = [process.stdout.readline().split() for _ in range(61)]
        process.kill()
        said += [line.split() for line in process.stdout if line.endswith("\n")]
        last = {int(entry_id): state for entry_id, state in said}
        found = {entry.id: entry.state for entry in ledger.entries()}
        later = {"submitted": {"submitted", "answered"}, "answered": {"answered"}}
        assert all(found[entry_id] in later[state] for entry_id, state in last.items())
        assert ledger.notices == ()

    def test_what_a_killed_process_had_under_way_is_offered(self, start, ledger):
        process = start(
            """
            sent, lost, planned = plan("sent"), plan("lost"), plan("planned")
            ledger.submit(sent)
            ledger.accept(sent, "request-1", b"ticket")
            ledger.submit(lost)
            print("done", flush=True)
            time.sleep(60)
            """
        )
        process.stdout.readline()
        sent, lost, planned = reversed(ledger.entries())
        assert ledger.is_owned(sent)
        assert ledger.unfinished() == []
        assert ledger.forget_planned() == 0
        kill(process)
        assert not ledger.is_owned(sent)
        assert ledger.unfinished() == [sent, lost]
        assert (ledger.packed(sent.id), ledger.packed(lost.id)) == (b"ticket", None)
        assert ledger.forget_planned() == 1
        assert ledger.entries(1)[0]._replace(state="planned", ended_at=None) == planned
        ledger.lose(lost.id, "the program ended")
        ledger.lose(sent.id, "the program ended")
        assert [entry.id for entry in ledger.unfinished()] == [sent.id]
        ledger.answer(sent.id, 0.04, 3.0)
        assert ledger.unfinished() == []

    def test_a_dead_owner_does_not_let_the_question_out_again(self, start, ledger):
        process = start("ledger.submit(plan('k'))\nprint(1, flush=True)\ntime.sleep(60)")
        process.stdout.readline()
        kill(process)
        again = ledger.plan(Origin("r", "s"), "segmind", "sam3-image", [("k", "w")], 0.05)[0]
        with pytest.raises(InFlightError):
            ledger.submit(again)
        assert ledger.open_entry("k").state == "submitted"
