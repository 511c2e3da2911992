"""Real processes that are killed while they ask a real server: nothing paid is lost or paid twice.

The stand-in lives here and the client in a process of its own, which is killed by SIGKILL
again and again, each time somewhere else, and started again until its run is finished.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing, suppress

import numpy as np
import pytest

from napari_sam3.jobs.accounts import Accounts
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.collecting import iter_collect
from napari_sam3.jobs.ledger import Ledger
from napari_sam3.jobs.records import Records
from napari_sam3.testing import TEST_KEY, Behaviour, SegmindServer
from tests.tiers import some

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="there is no SIGKILL and no fork on Windows"
)

QUESTIONS = 6
MOST_KILLS = 10
TIMEOUT_S = 60
# how long after a request reached the server: while it answers, while the client writes
DELAYS_S = (0.0, 0.0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.03)

# Starting Python takes longer than a run: this process imports everything once, and each
# client is a fork of it that has opened nothing yet.
NURSERY = """
import json, os, sys
import numpy as np, psutil, scipy.ndimage, skimage.measure
from PIL import Image
from napari_sam3 import create_engine, ConceptPrompt
from napari_sam3.engines.segmind import engine as engine_module
from napari_sam3.core.pictures import Picture
from napari_sam3.core.progress import drain
from napari_sam3.jobs.records import open_records
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.run import SegmentRun

Image.init()
engine_module.POLL_S = engine_module.LONGEST_POLL_S = 0.01

def say(*words):
    os.write(1, (json.dumps(words) + "\\n").encode())

def save(records, results, found, output):
    # once they are saved, nothing else has to hold the answers
    beside = output + ".part"
    with open(beside, "w") as file:
        json.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, output)
    records.ledger.settle([(r.record.key, r.usage.request_id) for r in results])

def ask(url, api, in_flight, count, cache, data, output):
    os.environ.update(NAPARI_SAM3_CACHE=cache, NAPARI_SAM3_DATA=data)
    engine, records = create_engine("segmind", url=url, api=api), open_records()
    image = (np.arange(31 * 47) % 251).astype(np.uint8).reshape(31, 47)
    prompts = tuple(ConceptPrompt(f"thing {n}") for n in range(count))
    run = SegmentRun(Picture.from_array(image), prompts, in_flight=in_flight)

    def confirm(expected):
        unknown = {entry.key for entry in expected.unknown}
        agreed = [(call.words, call.key in unknown) for call in expected.calls]
        # whoever agrees has agreed before anything is sent
        say("agreed", agreed)
        return True

    answer = drain(iter_accounted(engine, run, records, confirm))
    boxes = [[(i.box.top, i.box.left, i.box.bottom, i.box.right) for i in r.instances]
             for r in answer.results]
    found = boxes, answer.notices, [r.record.key for r in answer.results]
    if output:
        save(records, answer.results, found, output)
    say("finished", *found)

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            say("started", os.getpid())
            ask(*json.loads(line))
        except BaseException as error:
            say("error", type(error).__name__, str(error))
        os._exit(0)
    os.waitpid(child, 0)
    say("ended")
"""


def model(image, fields):
    """One object, which tells by its width which question it answers."""
    mask = np.zeros(image.shape[:2], bool)
    mask[3:8, 20 : 22 + int(fields.text.split()[-1])] = True
    return [mask]


def expected_boxes():
    return [[[3, 20, 8, 22 + number]] for number in range(QUESTIONS)]


@pytest.fixture(scope="module")
def nursery():
    environment = {**os.environ, "SEGMIND_API_KEY": TEST_KEY}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        heard = queue.Queue()

        def listen():
            for line in process.stdout:
                heard.put(json.loads(line))

        listener = threading.Thread(target=listen)
        listener.start()
        process.heard = heard
        yield process
        process.stdin.close()
        process.wait(TIMEOUT_S)
        listener.join()


class Rounds:
    """One run on one pair of folders, by as many processes as it takes."""

    def __init__(self, nursery, server, folder, api, in_flight, *, is_full=False):
        self.nursery, self.server = nursery, server
        self.cache, self.data = folder / "cache", folder / "data"
        self.output = folder / "output.json" if is_full else None
        if is_full:
            self.cache.write_text("a file where the folder should be")
        where = [str(self.cache), str(self.data), str(self.output or "")]
        self.command = [server.url, api, in_flight, QUESTIONS, *where]
        self.agreed, self.agreed_again = Counter(), Counter()
        self.request_ids = set()

    def start(self, kill_at=None, delay_s=0.0):
        """Run one process, and kill it once so many requests have come; return its answer."""
        self.nursery.stdin.write(json.dumps(self.command) + "\n")
        self.nursery.stdin.flush()
        kind, pid = self.nursery.heard.get(timeout=TIMEOUT_S)
        assert kind == "started"
        said = []
        while True:
            try:
                said.append(self.nursery.heard.get(timeout=0.0005 if kill_at else TIMEOUT_S))
            except queue.Empty:
                if kill_at and len(self.server.ledger.requests) >= kill_at:
                    time.sleep(delay_s)
                    # it may have ended by itself meanwhile
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    kill_at = None
            if said and said[-1] == ["ended"]:
                break
        return self._heard(said)

    def kill_until_finished(self, chance, most):
        """Kill one process after the other somewhere, each after at most so many requests."""
        for _ in range(MOST_KILLS):
            seen = len(self.server.ledger.requests)
            finished = self.start(seen + chance.randint(1, most), chance.choice(DELAYS_S))
            self.read_ledger()
            finished = finished or self._saved()
            if finished is not None:
                return finished
        return None

    def _saved(self):
        """Return the answer of a process that was killed when all was done but to say so."""
        if self.output is None or not self.output.exists():
            return None
        ledger = Ledger(self.data / "ledger.sqlite")
        is_settled = ledger.unfinished() == []
        ledger.close()
        return json.loads(self.output.read_text()) if is_settled else None

    def _heard(self, said):
        finished = None
        for kind, *words in said:
            if words[:1] == ["EngineUnavailableError"]:
                # a busy computer may have no port left for a moment; nothing was sent then
                continue
            assert kind in ("agreed", "finished", "ended"), words
            if kind == "agreed":
                self.agreed.update(name for name, _ in words[0])
                self.agreed_again.update(name for name, is_again in words[0] if is_again)
            elif kind == "finished":
                finished = words
        return finished

    def read_ledger(self):
        """Check that the ledger is sound, and remember what it knows of the service's ids."""
        path = self.data / "ledger.sqlite"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                # killed while it was being made
                return []
            rows = db.execute("SELECT question, state, request_id FROM entries").fetchall()
        self.request_ids |= {request_id for _, _, request_id in rows if request_id}
        return rows

    def check(self, finished):
        boxes, notices, keys = finished
        assert boxes == expected_boxes()
        known = (
            ("Split from one mask", "The result could not be stored")
            if self.output
            else ("Split from one mask")
        )
        assert all(notice.startswith(known) for notice in notices)
        posts = self.server.ledger.of("v1") + self.server.ledger.of("submit")
        sent = Counter(post.fields["text_prompt"] for post in posts)
        assert self.server.ledger.billed <= sum(self.agreed.values())
        for name, count in sent.items():
            assert count <= self.agreed[name]
            # more than once only where somebody knew that it may be billed twice
            assert count <= 1 + self.agreed_again[name]
        ledger = Ledger(self.data / "ledger.sqlite")
        ledger.forget_planned()
        if self.output:
            assert json.loads(self.output.read_text())[0] == expected_boxes()
            # all is saved, so that there is nothing to collect
            assert ledger.unfinished() == []
        else:
            self._settle(ledger)
            self._check_cache(keys)
        ledger.close()
        self._check_ledger()
        assert self.server.leaked_keys == 0

    def _settle(self, ledger):
        """Write down what was stored by a process that was killed before it could say so."""
        seen = len(self.server.ledger.requests)
        collected = [
            *iter_collect(Records(AnswerCache(self.cache, 1 << 30), lambda: Accounts(ledger)))
        ]
        assert {entry.state for entry in collected} <= {"submitted"}
        # all that is left is at hand: nothing has to be fetched
        assert len(self.server.ledger.requests) == seen

    def _check_ledger(self):
        rows = self.read_ledger()
        accepted = Counter(question for question, _, request_id in rows if request_id)
        assert set(accepted.values()) <= {1}
        state_of = {request_id: state for _, state, request_id in rows if request_id}
        assert {state_of[request_id] for request_id in self.request_ids} == {"answered"}
        assert {state for _, state, _ in rows} <= {"answered", "unknown", "cancelled"}

    def _check_cache(self, keys):
        cache = AnswerCache(self.cache, 1 << 30)
        assert all(cache.get(key) is not None for key in keys)
        assert cache.info().damaged == 0


@pytest.mark.parametrize("seed", range(some(3, fewest=1)))
@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_killed_anywhere_nothing_paid_is_lost_or_paid_twice(
    nursery, tmp_path, api, in_flight, seed
):
    chance = random.Random(f"{api} {in_flight} {seed}")
    with SegmindServer(Behaviour(), model=model, credits=10.0) as server:
        rounds = Rounds(nursery, server, tmp_path, api, in_flight)
        rounds.kill_until_finished(chance, 2 if api == "v1" else 6)
        rounds.check(rounds.start())


@pytest.mark.parametrize("seed", range(some(3, fewest=1)))
@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("api", ["v1", "v2"])
def test_killed_where_no_answer_can_be_stored_all_are_fetched_until_they_are_saved(
    nursery, tmp_path, api, in_flight, seed
):
    chance = random.Random(f"full {api} {in_flight} {seed}")
    with SegmindServer(Behaviour(), model=model, credits=10.0) as server:
        rounds = Rounds(nursery, server, tmp_path, api, in_flight, is_full=True)
        finished = rounds.kill_until_finished(chance, 3 * QUESTIONS)
        rounds.check(finished or rounds.start())
