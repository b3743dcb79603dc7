"""What huggingface_hub raises, told apart and told in one line."""

from __future__ import annotations


def client_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises where it does not have its way."""
    from huggingface_hub.errors import HfHubHTTPError

    # It has changed its HTTP library twice, whose base of all errors is the first of this class's.
    return (HfHubHTTPError.__bases__[0], OSError, ValueError, RuntimeError)


def http_status(error: BaseException) -> int | None:
    """The status of the Hub's answer behind an error, None where it gave none."""
    response = getattr(_answer(error), "response", None)
    return None if response is None else int(response.status_code)


def reason(error: BaseException) -> str:
    """One line: what the Hub said, else the client's message without its advice below."""
    answer = _answer(error)
    said = getattr(answer, "server_message", None)
    if said:
        return " ".join(str(said).split()).rstrip(".")
    cause = answer or error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")


def _answer(error: BaseException | None) -> BaseException | None:
    """The error that holds the Hub's answer: the client wraps some of them in others."""
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__
    return error
