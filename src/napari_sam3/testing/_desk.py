"""What each address answers, once the gateway has let a call pass."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from napari_sam3.errors import Sam3Error
from napari_sam3.testing._answers import AnswerFiles, Store, make_answer, v1_body, v2_output
from napari_sam3.testing._behaviour import Behaviour, Fault
from napari_sam3.testing._clock import Clock
from napari_sam3.testing._faults import RESET_HEADER, error_reply, json_reply, reset_moment
from napari_sam3.testing._gateway import Call, redirect
from napari_sam3.testing._images import ImageRefusedError, image_bytes, read_header
from napari_sam3.testing._jobs import (
    Job,
    JobFailedError,
    Jobs,
    addresses,
    completed_body,
    failed_body,
    metrics,
    waiting_body,
)
from napari_sam3.testing._ledger import Books
from napari_sam3.testing._model import Model
from napari_sam3.testing._pictures import PictureFile
from napari_sam3.testing._storage import Storage
from napari_sam3.testing._validation import Fields, InvalidError, read_body
from napari_sam3.testing._wire import Reply

_MOVED = "/moved"


class Desk:
    """Answers.

    Parameters
    ----------
    clock : Clock
    books : Books
    jobs : Jobs
    storage : Storage
    model : callable
        See `napari_sam3.testing.segmind_server.Model`.
    report : callable
        Told of errors of the stand-in itself.
    """

    def __init__(
        self,
        clock: Clock,
        books: Books,
        jobs: Jobs,
        storage: Storage,
        model: Model,
        report: Callable[[BaseException], None],
    ) -> None:
        self._clock, self._books, self._jobs, self._storage = clock, books, jobs, storage
        self._model, self._report = model, report
        self.api_url = self.cdn_url = ""

    def api(self, call: Call) -> Reply:
        """Answer a call that the gateway let pass."""
        answers: Mapping[str, Callable[[Call], Reply]] = {
            "v1": self._run,
            "submit": self._submit,
            "status": self._status,
            "result": self._result,
            "credits": self._credits,
            "upload": self._upload,
        }
        return answers[call.step or ""](call)

    def cdn(self, call: Call) -> Reply:
        """Answer at the un-keyed origin; also what should never have been asked there."""
        if call.step in ("status", "result"):
            return self.api(call)
        if call.step != "download":
            # somebody followed a redirect: as tempting as can be
            return Reply(200, _bait(), "image/png")
        return self._download(call)

    # ------------------------------------------------------------------ the model

    def _work(self, call: Call) -> Callable[[], AnswerFiles]:
        """Check the fields now; return what remains to be done."""
        payload, behaviour = call.payload or {}, call.behaviour
        image, fields = read_body(payload, self._fetch)

        def work() -> AnswerFiles:
            _refuse(fields, behaviour)
            try:
                masks = self._model(image, fields)
            except Sam3Error as error:
                raise JobFailedError(str(error)) from error
            except Exception as error:
                self._report(error)
                raise JobFailedError("the stand-in's model is broken") from error
            if not masks and behaviour.nothing_found == "422":
                raise JobFailedError("No objects detected", 422)
            return make_answer(image, masks, fields, behaviour)

        return work

    def _run(self, call: Call) -> Reply:
        behaviour, since = call.behaviour, self._clock.now()
        if behaviour.answer == "submission":
            return self._submit(call)
        try:
            answer = self._work(call)()
        except InvalidError as error:
            return error_reply(behaviour.invalid, str(error))
        except JobFailedError as error:
            return error_reply(Fault(error.status), str(error))
        if not self._clock.wait(behaviour.latency_s - (self._clock.now() - since)):
            return Reply(503)  # closing: the work was not done
        self._books.charge(behaviour.cost)
        name = self._jobs.new_id()
        body, content_type = v1_body(answer, behaviour, self._store(name, call))
        return Reply(200, body, content_type, self._accounting(behaviour, name))

    def _submit(self, call: Call) -> Reply:
        behaviour = call.behaviour
        try:
            work = self._work(call)
        except InvalidError as error:
            if behaviour.validates_at_submit:
                return error_reply(behaviour.invalid, str(error))
            work = _failing(str(error))
        job = self._jobs.submit(work, behaviour, is_scripted=call.is_scripted)
        shown = {"request_id": job.request_id, "status": behaviour.words.get("QUEUED", "QUEUED")}
        urls = self._addresses(job, behaviour) if behaviour.urls_in_submit else {}
        return json_reply({**shown, **urls}, behaviour.submit_status)

    def _fetch(self, url: str) -> bytes | None:
        return self._storage.asset(url, self.cdn_url)

    # ------------------------------------------------------------------ jobs

    def _status(self, call: Call) -> Reply:
        return self._about(call, self._done)

    def _result(self, call: Call) -> Reply:
        return self._about(call, self._full)

    def _about(self, call: Call, finished: Callable[[Job, Call], Reply]) -> Reply:
        request_id = call.route.request_id if call.route else ""
        job = self._jobs.find(request_id)
        if job is None:
            return error_reply(Fault(404), f"Request {request_id} not found")
        status = self._jobs.poll(job, call.behaviour)
        if status == "FAILED":
            return json_reply(failed_body(job, call.behaviour), call.behaviour.failed_status)
        if status == "COMPLETED":
            return finished(job, call)
        urls = self._addresses(job, call.behaviour)
        return json_reply(waiting_body(job, status, call.behaviour, urls))

    def _done(self, job: Job, call: Call) -> Reply:
        return json_reply(completed_body(job, call.behaviour))

    def _full(self, job: Job, call: Call) -> Reply:
        answer, behaviour = job.outcome.result(), call.behaviour
        if behaviour.output == "image body" and answer.pictures:
            return Reply(200, answer.pictures[0].body, answer.pictures[0].content_type)
        value = {
            **completed_body(job, behaviour),
            "error": None,
            "metrics": metrics(job, behaviour, sum(self._books.credits_left())),
            **v2_output(answer, behaviour, self._store(job.name, call)),
        }
        return json_reply(value)

    def _addresses(self, job: Job, behaviour: Behaviour) -> dict[str, str]:
        return addresses(job, self.cdn_url if behaviour.urls_on_cdn else self.api_url)

    # ------------------------------------------------------------------ the rest

    def _credits(self, _call: Call) -> Reply:
        self._jobs.settle()
        paid, free = self._books.credits_left()
        return json_reply({"credits": paid, "free-credits": free})

    def _upload(self, call: Call) -> Reply:
        given = (call.payload or {}).get("data_urls")
        if not isinstance(given, list) or not all(isinstance(url, str) for url in given):
            return error_reply(Fault(400), "data_urls must be a list of strings")
        try:
            files = [_data_url(url) for url in given]
        except ImageRefusedError as error:
            return error_reply(Fault(400), str(error))
        urls = [self.cdn_url + self._storage.upload(body, kind) for body, kind in files]
        forms: Mapping[str, Any] = {
            "file_urls": {"file_urls": urls, "message": "Files uploaded successfully"},
            "urls": {"urls": urls},
            "list": urls,
        }
        return json_reply(forms[call.behaviour.upload_form])

    def _download(self, call: Call) -> Reply:
        path, behaviour = call.request.target.partition("?")[0], call.behaviour
        fault = behaviour.faults.get("download")
        if fault is not None:
            return error_reply(fault)
        moved = redirect(behaviour.traps.get("download"), _MOVED, path)
        if moved is not None and not path.startswith(_MOVED):
            return moved
        found = self._storage.get(path.removeprefix(_MOVED))
        if found is None:
            return error_reply(Fault(404))
        return Reply(200, found.body, found.content_type)

    def _store(self, name: str, call: Call) -> Store:
        behaviour = call.behaviour if call.is_scripted else None

        def store(file_name: str, picture: PictureFile) -> str:
            path = f"/generations/{name}-{file_name}"
            self._storage.put(path, picture.body, picture.content_type, behaviour)
            return self.cdn_url + path

        return store

    def _accounting(self, behaviour: Behaviour, request_id: str) -> Mapping[str, str]:
        if behaviour.accounting == "absent":
            return {}
        if behaviour.accounting == "garbage":
            return {"x-remaining-credits": "plenty", "x-cost": "", "x-generation-time": "NaN s"}
        return {
            "x-remaining-credits": f"{sum(self._books.credits_left()):.6f}",
            "x-cost": f"{behaviour.cost:.6f}",
            "x-request-id": request_id,
            "x-generation-time": f"{behaviour.model_s:.3f}",
            "x-rate-limit-remaining": str(behaviour.rpm or 100),
            RESET_HEADER: reset_moment("iso", 60.0),
        }


def _refuse(fields: Fields, behaviour: Behaviour) -> None:
    if behaviour.job_error is not None:
        raise JobFailedError(behaviour.job_error)
    if not fields.flags and behaviour.no_flag == "error":
        raise JobFailedError("nothing to return: all return_… flags are false", 400)


def _failing(message: str) -> Callable[[], AnswerFiles]:
    def work() -> AnswerFiles:
        raise JobFailedError(message)

    return work


def _data_url(url: str) -> tuple[bytes, str]:
    if not url.startswith("data:"):
        raise ImageRefusedError("data_urls must hold data URIs")
    body = image_bytes(url, lambda _: None)
    _, form = read_header(body)
    return body, f"image/{form.lower()}"


def _bait() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (1, 1), 255).save(buffer, "PNG")
    return buffer.getvalue()
