"""The exception tree.  Every message is a sentence for the user.

.. code-block:: text

    Sam3Error                          what happened, and what to do
      ImageError                       this picture cannot be segmented, and why
      PromptError                      this question makes no sense
        UnsupportedPromptError         it does, but not to this engine
      EngineError (.request_id)
        EngineUnavailableError         no network, no weights, a missing extra
        AuthenticationError
        CreditsError
        RateLimitError (.retry_after)
        RequestRejectedError
        OutcomeUnknownError            sent, answer lost: may have been billed
        ResponseError                  an answer that cannot be read
      CancelledError (.was_sent)       the user stopped it; nothing went wrong
      CapReachedError                  the run or the day has cost as much as was allowed
      ConsentError                     it would cost money that nobody agreed to
      CacheError                       a stored answer cannot be kept or read; nothing is lost by it
      LedgerError                      what is paid cannot be written down, so nothing is sent
      ProvenanceError                  a record of how labels were made cannot be read or followed

Anything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations


class Sam3Error(Exception):
    """Base of all errors that are meant for the user's eyes."""


class ImageError(Sam3Error):
    """The image cannot be segmented as it is; the message says why."""


class PromptError(Sam3Error, ValueError):
    """The prompt is invalid by itself, whatever the engine."""


class UnsupportedPromptError(PromptError):
    """The prompt is valid, but this engine cannot answer it."""


class EngineError(Sam3Error):
    """An engine failed.

    Parameters
    ----------
    message : str
        The sentence for the user.
    request_id : str, optional
        The id under which the engine knows the request, if it got that far.
    status : int, optional
        The HTTP status of the answer, if there was one.

    Attributes
    ----------
    maybe_billed : bool
        Whether the request may cost money all the same.
    """

    maybe_billed = False

    def __init__(
        self, message: str, *, request_id: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.status = status


class EngineUnavailableError(EngineError):
    """The engine cannot be used here and now; the message names the remedy."""


class AuthenticationError(EngineError):
    """The key is missing, wrong, or may not use this model."""


class CreditsError(EngineError):
    """The account cannot pay for the request."""


class RateLimitError(EngineError):
    """Too many requests.

    Parameters
    ----------
    message : str
        The sentence for the user.
    retry_after : float, optional
        Seconds after which to try again, if known.
    request_id : str, optional
        As in `EngineError`.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.retry_after = retry_after


class RequestRejectedError(EngineError):
    """The engine understood the request and refused it."""


class OutcomeUnknownError(EngineError):
    """The request was sent and the answer lost: it may have been billed.

    Never sent again by itself.
    """

    maybe_billed = True


class ResponseError(EngineError):
    """The engine answered with something that cannot be read.

    Parameters
    ----------
    message : str
        The sentence for the user.
    content_type : str, optional
        What the answer said it was.
    length : int, optional
        Its length in bytes.
    head : bytes, optional
        Its first bytes.
    request_id : str, optional
        As in `EngineError`.
    """

    def __init__(
        self,
        message: str,
        *,
        content_type: str = "",
        length: int = 0,
        head: bytes = b"",
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.content_type = content_type
        self.length = length
        self.head = head


class CancelledError(Sam3Error):
    """The user stopped the run; what was answered before is kept.

    Parameters
    ----------
    message : str
        The sentence for the user.
    was_sent : bool
        Whether a paid question had left already, and may be billed.
    """

    def __init__(self, message: str, *, was_sent: bool = False) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class CapReachedError(Sam3Error):
    """The next question might cost more than was allowed; it was not sent."""


class ConsentError(Sam3Error):
    """The question would cost money that nobody agreed to; it was not sent."""


class CacheError(Sam3Error):
    """An answer cannot be stored, or a stored one cannot be read; work goes on without."""


class LedgerError(Sam3Error):
    """The ledger cannot be read or written, so no paid question is sent."""


class ProvenanceError(Sam3Error):
    """A record of how labels were made cannot be read, or cannot be followed here."""


def reason_of(error: Exception) -> str:
    """Return what another library's error says, as the end of a sentence."""
    first = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    return first[:200] or type(error).__name__
