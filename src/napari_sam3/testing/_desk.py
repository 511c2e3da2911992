"""What each address answers, once the gateway has let a call pass."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from PIL import Image

from napari_sam3.errors import Sam3Error
from napari_sam3.testing._answers import AnswerFiles, Store, make_answer, v1_body, v2_output
from napari_sam3.testing._behaviour import Behaviour, Fault
from napari_sam3.testing._faults import RESET_HEADER, error_reply, json_reply, reset_moment
from napari_sam3.testing._fields import Fields, InvalidError, image_bytes, read_body, read_header
from napari_sam3.testing._gateway import Call, redirect
from napari_sam3.testing._jobs import Job, JobFailedError
from napari_sam3.testing._storage import File
from napari_sam3.testing._wire import Reply

_MOVED = "/moved"


def answer_at_api(call: Call) -> Reply:
    """Answer a call that the gateway let pass."""
    answers: Mapping[str, Callable[[Call], Reply]] = {
        "v1": _run,
        "submit": _submit,
        "status": _about_job,
        "result": _about_job,
        "credits": _credits,
        "upload": _upload,
    }
    return answers[call.step or ""](call)


def answer_at_cdn(call: Call) -> Reply:
    """Answer at the un-keyed origin; also what should never have been asked there."""
    if call.step in ("status", "result"):
        return _about_job(call)
    if call.step != "download":
        # somebody followed a redirect: as tempting as can be
        return Reply(200, _bait(), "image/png")
    return _download(call)


# ------------------------------------------------------------------ the model


def _work(call: Call) -> Callable[[], AnswerFiles]:
    """Check the fields now; return what remains to be done."""
    service, behaviour = call.service, call.behaviour
    image, fields = read_body(call.payload or {}, service.asset)

    def work() -> AnswerFiles:
        _refuse(fields, behaviour)
        try:
            masks = service.model(image, fields)
        except Sam3Error as error:
            raise JobFailedError(str(error)) from error
        except Exception as error:
            service.failures.append(error)
            raise JobFailedError("the stand-in's model is broken") from error
        if not masks and behaviour.nothing_found == "422":
            raise JobFailedError("No objects detected", 422)
        return make_answer(image, masks, fields, behaviour)

    return work


def _refuse(fields: Fields, behaviour: Behaviour) -> None:
    if behaviour.job_error is not None:
        raise JobFailedError(behaviour.job_error)
    if not fields.flags and behaviour.no_flag == "error":
        raise JobFailedError("nothing to return: all return_… flags are false", 400)


def _run(call: Call) -> Reply:
    service, behaviour = call.service, call.behaviour
    since = service.clock.now()
    if behaviour.answer == "submission":
        return _submit(call)
    try:
        answer = _work(call)()
    except InvalidError as error:
        return error_reply(behaviour.invalid, str(error))
    except JobFailedError as error:
        return error_reply(Fault(error.status), str(error))
    if not service.clock.wait(behaviour.latency_s - (service.clock.now() - since)):
        return Reply(503)  # closing: the work was not done
    service.books.charge(behaviour.cost)
    name = service.jobs.new_id()
    body, content_type = v1_body(answer, behaviour, _store(name, call))
    return Reply(200, body, content_type, _accounting(call, name))


def _accounting(call: Call, request_id: str) -> Mapping[str, str]:
    behaviour = call.behaviour
    if behaviour.accounting == "absent":
        return {}
    if behaviour.accounting == "garbage":
        return {"x-remaining-credits": "plenty", "x-cost": "", "x-generation-time": "NaN s"}
    return {
        "x-remaining-credits": f"{sum(call.service.books.credits_left()):.6f}",
        "x-cost": f"{behaviour.cost:.6f}",
        "x-request-id": request_id,
        "x-generation-time": f"{behaviour.model_s:.3f}",
        "x-rate-limit-remaining": str(behaviour.rpm or 100),
        RESET_HEADER: reset_moment("iso", 60.0),
    }


def _store(name: str, call: Call) -> Store:
    behaviour = call.behaviour if call.is_scripted else None

    def store(file: File, number: int) -> str:
        path = f"/generations/{name}-{number}{file.suffix}"
        call.service.storage.put(path, file, behaviour)
        return call.service.cdn_url + path

    return store


# ------------------------------------------------------------------ jobs


def _submit(call: Call) -> Reply:
    behaviour = call.behaviour
    try:
        work = _work(call)
    except InvalidError as error:
        if behaviour.validates_at_submit:
            return error_reply(behaviour.invalid, str(error))
        work = _failing(str(error))
    job = call.service.jobs.submit(work, behaviour, is_scripted=call.is_scripted)
    shown = {"request_id": job.request_id, "status": behaviour.words.get("QUEUED", "QUEUED")}
    urls = _addresses(job, call) if behaviour.urls_in_submit else {}
    return json_reply({**shown, **urls}, behaviour.submit_status)


def _failing(message: str) -> Callable[[], AnswerFiles]:
    def work() -> AnswerFiles:
        raise JobFailedError(message)

    return work


def _about_job(call: Call) -> Reply:
    """Answer a poll, or give the result."""
    behaviour, request_id = call.behaviour, call.route.request_id if call.route else ""
    job = call.service.jobs.find(request_id)
    if job is None:
        return error_reply(Fault(404), f"Request {request_id} not found")
    status = call.service.jobs.poll(job, behaviour)
    body = {"status": behaviour.words.get(status, status), "request_id": job.request_id}
    metrics = {"inference_time": job.behaviour.model_s}
    if status == "FAILED":
        failed = {**body, "error": job.error, "metrics": metrics}
        return json_reply(failed, behaviour.failed_status)
    if status == "COMPLETED":
        done = {**body, "metrics": metrics}
        return _result(job, call, done) if call.step == "result" else json_reply(done)
    urls = _addresses(job, call) if behaviour.urls_in_status else {}
    urls.pop("poll_url", None)
    return json_reply({**body, **urls, "metrics": {}})


def _result(job: Job, call: Call, body: dict[str, Any]) -> Reply:
    answer, behaviour = job.outcome.result(), call.behaviour
    if behaviour.output == "image body" and answer.files:
        return Reply(200, answer.files[0].body, answer.files[0].content_type)
    output = v2_output(answer, behaviour, _store(job.name, call))
    return json_reply({**body, "error": None, "metrics": _metrics(job, call), **output})


def _metrics(job: Job, call: Call) -> dict[str, Any]:
    if call.behaviour.metrics == "none":
        return {}
    seconds = job.behaviour.model_s
    times = {"inference_time": seconds, "queue_time": 0.0, "total_time": seconds, "retry_count": 0}
    if call.behaviour.metrics == "no cost":
        return times
    left = sum(call.service.books.credits_left())
    return {"cost": job.behaviour.cost, "remaining_credits": left, **times}


def _addresses(job: Job, call: Call) -> dict[str, str]:
    base = call.service.cdn_url if call.behaviour.urls_on_cdn else call.service.api_url
    name = quote(job.request_id, safe="")
    return {
        "poll_url": f"{base}/v1/requests/{name}",
        "status_url": f"{base}/v2/requests/{name}/status",
        "response_url": f"{base}/v2/requests/{name}",
    }


# ------------------------------------------------------------------ the rest


def _credits(call: Call) -> Reply:
    call.service.jobs.settle()
    paid, free = call.service.books.credits_left()
    return json_reply({"credits": paid, "free-credits": free})


def _upload(call: Call) -> Reply:
    given = (call.payload or {}).get("data_urls")
    if not isinstance(given, list) or not all(isinstance(url, str) for url in given):
        return error_reply(Fault(400), "data_urls must be a list of strings")
    try:
        files = [_data_url(url) for url in given]
    except InvalidError as error:
        return error_reply(Fault(400), str(error))
    urls = [call.service.cdn_url + call.service.storage.upload(file) for file in files]
    forms: Mapping[str, Any] = {
        "file_urls": {"file_urls": urls, "message": "Files uploaded successfully"},
        "urls": {"urls": urls},
        "list": urls,
    }
    return json_reply(forms[call.behaviour.upload_form])


def _data_url(url: str) -> File:
    if not url.startswith("data:"):
        raise InvalidError("data_urls must hold data URIs")
    body = image_bytes(url, lambda _: None)
    form = read_header(body)[1].lower()
    return File(body, f"image/{form}", f".{form}")


def _download(call: Call) -> Reply:
    path = call.request.target.partition("?")[0]
    if call.fault is not None:
        return error_reply(call.fault)
    moved = redirect(call.trap, _MOVED, path)
    if moved is not None and not path.startswith(_MOVED):
        return moved
    found = call.service.storage.get(path.removeprefix(_MOVED))
    if found is None:
        return error_reply(Fault(404))
    return Reply(200, found.file.body, found.file.content_type)


def _bait() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (1, 1), 255).save(buffer, "PNG")
    return buffer.getvalue()
