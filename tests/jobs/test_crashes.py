"""Programs that end anywhere, and services that misbehave: no bill without a word, no loss.

The real ledger, cache and engine that remembers run in one process that "dies" by an
exception at any step, forgets all it had in memory, and opens its files anew.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from napari_sam3.core.pictures import Picture
from napari_sam3.core.progress import drain
from napari_sam3.core.prompts import ConceptPrompt
from napari_sam3.errors import CacheError, Sam3Error
from napari_sam3.jobs import accounts as accounts_module
from napari_sam3.jobs import fingerprint, owners, paid
from napari_sam3.jobs.accounts import Accounts, CostLimits
from napari_sam3.jobs.cache import AnswerCache
from napari_sam3.jobs.collecting import iter_collect
from napari_sam3.jobs.ledger import Ledger
from napari_sam3.jobs.records import Records
from napari_sam3.workflows.accounted import iter_accounted
from napari_sam3.workflows.run import SegmentRun
from napari_sam3.workflows.segment import segment
from tests.tiers import examples

from .paid import COLLECT_MISHAPS, IMAGE, KEPT_S, SUBMIT_MISHAPS, BillingEngine, Service, key_for

TEXTS = ("a", "b", "c")
WRITES = (
    "plan",
    "submit",
    "accept",
    "answer",
    "deliver",
    "fail",
    "lose",
    "cancel",
    "cancel_run",
    "release",
)

texts = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=4)
# after how many steps the process dies, if it does
deaths = st.one_of(st.none(), st.integers(0, 8), st.integers(0, 20))


class Crash(BaseException):
    """The process ends here: nothing that it does from now on happens."""


class Process:
    """What one process has in memory; each of its writes may be its last act."""

    def __init__(self, folder, service, clock):
        self.is_dead = False
        self.steps_left = None
        self.service = service
        ledger = Ledger(folder / "ledger.sqlite", clock)
        cache = AnswerCache(folder / "cache", 1 << 30)
        for name in (*WRITES, "hold"):
            setattr(ledger, name, self._mortal(getattr(ledger, name)))
        self.put = cache.put
        cache.put = self._mortal(self._put)
        # no answer can be stored
        self.is_full = False
        accounts = Accounts(ledger, CostLimits(0.0), "crashes")
        self.records = Records(cache, lambda: accounts)

    def engine(self, *, at_once):
        engine = BillingEngine(self.service, at_once=at_once)
        engine.submit, engine.collect = self._mortal(engine.submit), self._mortal(engine.collect)
        return engine

    def step(self):
        if self.steps_left is not None:
            self.steps_left -= 1
            self.is_dead |= self.steps_left < 0
        if self.is_dead:
            raise Crash

    def _put(self, *args, **kwargs):
        if self.is_full:
            raise CacheError("There is no room.")
        self.put(*args, **kwargs)

    def _mortal(self, act):
        def mortal(*args, **kwargs):
            self.step()
            result = act(*args, **kwargs)
            self.step()
            return result

        return mortal


class Crashes(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = time.time()
        self.service = Service(self.clock)
        self.patch = pytest.MonkeyPatch()
        self.service.list(self.patch)
        self.patch.setattr(owners, "here", lambda: f"process {self.number}")
        self.patch.setattr(owners, "lives", lambda owner: owner == f"process {self.number}")
        words = {"strftime": time.strftime, "localtime": time.localtime}
        for module in (fingerprint, paid):
            self.patch.setattr(module, "time", SimpleNamespace(time=self.clock, **words))
        # a process that dies is no computer that loses its power
        self.patch.setattr("os.fsync", lambda _: None)
        self.number = 0
        self.consents = Counter()
        # what the run that is under way was told that it may do
        self.is_fresh, self.may_repeat = False, set()
        self.wrongs = []
        # key → newest entry whose answer was stored and then taken away
        self.evicted = Counter()
        # entries whose answers came where none could be stored
        self.unstored = set()
        # entry → the service's id, once the client has it on disk
        self.tickets = {}
        accept = self.service.accept
        self.service.accept = lambda *args: self._judged(accept(*args))
        self._start()

    def clock(self):
        return self.now

    def _judged(self, job):
        """Look at what the client knew when it sent this."""
        key, records = self._key(job.words), self.process.records
        of_key = [entry for entry in records.ledger.entries() if entry.key == key]
        answered = max((entry.id for entry in of_key if entry.state == "answered"), default=0)
        lost = [e for e in of_key if e.state == "unknown" and e.id > answered]
        if lost and job.words not in self.may_repeat:
            self.wrongs.append(f"{job.words} was sent again without a word")
        if not self.is_fresh:
            if records.cache.has(key):
                self.wrongs.append(f"{job.words} was sent although it is stored")
            # one that nothing could store is gone once the service forgets it
            is_kept = self.service.find(self.tickets.get(answered)) is not None
            if answered > self.evicted[key] and (is_kept or answered not in self.unstored):
                self.wrongs.append(f"{job.words} was answered, and its answer is gone")
        return job

    def _accepted(self, entry_id, _request_id, packed):
        ticket = json.loads(packed.partition(b"\n")[2])
        self.tickets[entry_id] = ticket["request_id"] or ticket["reply"]

    def _collecting(self, ticket):
        if (ticket.request_id or ticket.reply) not in self.tickets.values():
            self.wrongs.append("an answer was waited for before its ticket was safe")

    def _evict(self, path):
        entries = self.process.records.ledger.entries()
        self.evicted[path.stem] = max(e.id for e in entries if e.key == path.stem)
        path.unlink()

    def _stored(self):
        return sorted(self.folder.glob("cache/**/*.answer"))

    def _key(self, text):
        return key_for(BillingEngine(self.service), text)

    def _start(self):
        self.number += 1
        self.patch.setattr(accounts_module, "SESSION", f"session {self.number}")
        accounts_module._under_way.clear()
        self.process = Process(self.folder, self.service, self.clock)
        ledger = self.process.records.ledger
        accept, deliver = ledger.accept, ledger.deliver

        def delivered(entry_id, *args):
            self.unstored.add(entry_id)
            deliver(entry_id, *args)

        ledger.deliver = delivered

        def accepted(entry_id, *args):
            try:
                accept(entry_id, *args)
            finally:
                # it may be on disk although the process died right after
                if ledger.packed(entry_id) is not None:
                    self._accepted(entry_id, *args)

        ledger.accept = accepted
        connect = ledger._connection

        def unsafe_but_quick():
            is_new = ledger._db is None
            db = connect()
            if is_new:
                db.execute("PRAGMA synchronous=OFF")
            return db

        ledger._connection = unsafe_but_quick
        # as the window and the command line do when they start
        ledger.forget_planned()

    def _until_it_dies(self, dies, act):
        """Do something; if the process dies of it, start another one."""
        self.process.steps_left = dies
        try:
            with suppress(Sam3Error):
                return act()
        except Crash:
            assert self.process.is_dead
        if self.process.is_dead:
            self._restart()
        self.process.steps_left = None
        return None

    def _restart(self):
        self.process.records.ledger.close()
        self._start()

    def _run(self, asked, confirm, *, at_once=False, fresh=False, vanishes=False):
        run = SegmentRun(Picture.from_array(IMAGE), tuple(ConceptPrompt(text) for text in asked))
        engine, records = self.process.engine(at_once=at_once), self.process.records
        collect = engine.collect

        def collected(ticket, stop):
            self._collecting(ticket)
            return collect(ticket, stop)

        engine.collect, self.is_fresh = collected, fresh
        self.may_repeat = set()
        newer_than = self.now if fresh else 0.0
        workflow = iter_accounted(engine, run, records, confirm, newer_than=newer_than)
        try:
            next(workflow)
            next(workflow)
            if vanishes:
                # after the estimate, and before the stored answers are read
                for path in self._stored():
                    self._evict(path)
            return drain(workflow)
        finally:
            self.is_fresh = False

    def _agree(self, expected):
        self.consents.update(call.words for call in expected.calls)
        self.may_repeat = {entry.question for entry in expected.unknown}
        return True

    # ------------------------------------------------------------------ what happens

    @rule(
        submits=st.lists(st.sampled_from(("", *SUBMIT_MISHAPS)), max_size=2),
        collections=st.lists(st.sampled_from(("", *COLLECT_MISHAPS)), max_size=2),
    )
    def something_will_go_wrong(self, submits, collections):
        self.service.submit_mishaps.extend(submits)
        self.service.collect_mishaps.extend(collections)

    @rule(is_full=st.booleans())
    def the_disk_fills_up_or_has_room_again(self, is_full):
        self.process.is_full = is_full

    @rule(fails=st.booleans())
    def jobs_will_fail(self, fails):
        self.service.jobs_fail = fails

    @rule()
    def the_process_ends(self):
        self._restart()

    @rule(seconds=st.sampled_from([1.0, KEPT_S / 2, KEPT_S + 1]))
    def time_goes_by(self, seconds):
        self.now += seconds

    @precondition(lambda self: self._stored())
    @rule(data=st.data())
    def a_stored_answer_is_evicted(self, data):
        self._evict(data.draw(st.sampled_from(self._stored())))

    @rule(asked=texts, dies=deaths, at_once=st.booleans())
    def a_run_is_agreed_to(self, asked, dies, at_once):
        self._until_it_dies(dies, lambda: self._run(asked, self._agree, at_once=at_once))

    @rule(asked=texts, dies=deaths)
    def a_run_is_asked_afresh(self, asked, dies):
        self._until_it_dies(dies, lambda: self._run(asked, self._agree, fresh=True))

    @rule(asked=texts, dies=deaths)
    def stored_answers_vanish_during_a_run(self, asked, dies):
        self._until_it_dies(dies, lambda: self._run(asked, self._agree, vanishes=True))

    @rule(asked=texts)
    def a_run_is_not_agreed_to(self, asked):
        sent = len(self.service.sent)
        self._until_it_dies(None, lambda: self._run(asked, lambda _: False))
        assert len(self.service.sent) == sent

    @rule(text=st.sampled_from(TEXTS), ask_again=st.booleans(), dies=deaths)
    def the_library_is_asked(self, text, ask_again, dies):
        self.consents[text] += 1
        self.may_repeat = {text} if ask_again else set()
        engine, records = self.process.engine(at_once=False), self.process.records
        options = {"records": records, "min_score": 0.0, "ask_again": ask_again}
        self._until_it_dies(dies, lambda: segment(IMAGE, ConceptPrompt(text), engine, **options))

    @rule(dies=deaths)
    def what_is_unfinished_is_collected(self, dies):
        sent = len(self.service.sent)
        self._until_it_dies(dies, lambda: [*iter_collect(self.process.records)])
        assert len(self.service.sent) == sent

    @rule()
    def everything_that_was_paid_comes_back(self):
        """What the client has a ticket of, and the service still keeps, costs nothing more."""
        for mishaps in (self.service.submit_mishaps, self.service.collect_mishaps):
            mishaps.clear()
        self.process.steps_left, self.process.is_full = None, False
        records, service = self.process.records, self.service
        entries = {entry.id: entry for entry in records.ledger.entries()}
        kept = {
            entry_id: entries[entry_id]
            for entry_id, request_id in self.tickets.items()
            if (job := service.find(request_id)) is not None and not job.fails
        }
        sent = len(service.sent)
        for _ in iter_collect(records):
            pass
        after = {entry.id: entry.state for entry in records.ledger.entries()}
        assert {after[entry_id] for entry_id in kept} <= {"answered"}
        for entry in kept.values():
            if entry.id > self.evicted[entry.key]:
                self._run([entry.question], lambda expected: not expected.calls)
        assert len(service.sent) == sent

    # ------------------------------------------------------------------ what holds

    @invariant()
    def nothing_is_sent_without_a_word(self):
        for text, count in Counter(self.service.sent).items():
            assert count <= self.consents[text]

    @invariant()
    def nothing_is_sent_that_the_client_should_have_known(self):
        assert self.wrongs == []

    @invariant()
    def nothing_stays_planned(self):
        states = {entry.state for entry in self.process.records.ledger.entries()}
        assert "planned" not in states

    @invariant()
    def the_ledger_counts_no_less_than_was_billed(self):
        assert self.process.records.ledger.spent() >= self.service.bill - 1e-9

    def teardown(self):
        try:
            self._check_that_all_is_answered_in_the_end()
        finally:
            self.process.records.ledger.close()
            self.patch.undo()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _check_that_all_is_answered_in_the_end(self):
        self.service.jobs_fail = False
        self.everything_that_was_paid_comes_back()
        answered = len(self._run(TEXTS, self._agree).instances)
        assert answered == len(TEXTS)
        self.nothing_is_sent_without_a_word()


TestCrashes = Crashes.TestCase
TestCrashes.settings = examples(40, stateful_step_count=25)
