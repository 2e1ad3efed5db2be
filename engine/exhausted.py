"""What a client is told where no hop answered: the fault that says most, and whether to ask again.

An SDK asks again by itself, usually twice. What was tried several times already is told so that it
does not: else its attempts, ours and the hops of the chain multiply.
"""

from collections.abc import Sequence
from enum import Enum

from turnout.dsl.schema import Target

from .names import not_found
from .provider import FAULTS, Fault, ProviderError
from .request import RequestError
from .retries import KeptOut

Failure = tuple[Target, ProviderError]


class Exclusion(Enum):
    """Why a hop cannot serve a request whatever happens, where that has a status and a code.

    Of several, the client is told the first: what it can mend itself comes before what others must.
    """

    WINDOW = (400, "context_length_exceeded")
    ABILITY = (400, "unsupported_parameter")
    PRICE = (400, "model_unpriced")
    MODELS = (403, "model_not_allowed")


Excluded = tuple[str, str, Exclusion | None]
"""The target of a hop, why the request cannot go there, and the code for it, where it has one."""


def exhausted(failures: Sequence[Failure], attempts: int) -> RequestError:
    """What is told after these failures (at least one), hops that were kept out among them.

    `attempts` is how many were made at all hops.
    """
    if all(isinstance(error, KeptOut) for _, error in failures):
        return _nobody_now(failures)
    error = failures[0][1]
    for _, candidate in failures:
        if FAULTS[candidate.fault].weight >= FAULTS[error.fault].weight:
            error = candidate
    treatment = FAULTS[error.fault]
    status = treatment.status
    if error.fault is Fault.BAD_REQUEST and error.status in (400, 404, 413, 422):
        status = 400 if error.status == 422 else error.status
    message = error.message
    if len(failures) > 1:
        trail = "; ".join(f"{t.id}: {e.fault.value}" for t, e in failures)
        message = f"{message} (tried {trail})"
    retry_after_us = error.retry_after_us if status in (429, 503) else None
    should_retry = treatment.should_retry
    if should_retry is None and attempts > 1:
        should_retry = _is_worth_asking(status, retry_after_us)
    told = RequestError(
        status,
        treatment.type,
        error.code or treatment.code,
        message,
        param=error.param,
        retry_after_us=retry_after_us,
        should_retry=should_retry,
    )
    if error.fault is Fault.RATE_LIMIT:
        told.headers.update(error.limits)
    return told


def _is_worth_asking(status: int, retry_after_us: int | None) -> bool | None:
    """Whether a client should ask again by itself for what was tried more than once."""
    if status in (429, 503) and retry_after_us is not None:
        return True
    return False if status >= 500 else None


def _nobody_now(failures: Sequence[Failure]) -> RequestError:
    """All targets are left alone or full; the shortest of their waits is told."""
    # Where one of them may be there in a moment, that is what helps; a budget is not.
    soon = [one for _, one in failures if one.retry_after_us is not None]
    error = max(soon or [one for _, one in failures], key=lambda one: FAULTS[one.fault].weight)
    treatment = FAULTS[error.fault]
    reasons = "; ".join(f"{target.id}: {one.message}" for target, one in failures)
    waits = [one.retry_after_us for one in soon if one.retry_after_us is not None]
    return RequestError(
        treatment.status,
        treatment.type,
        error.code or treatment.code,
        f"No target can be tried at the moment ({reasons})."
        if soon
        else f"No target can be paid for ({reasons}).",
        retry_after_us=min(waits, default=None),
        should_retry=bool(soon),
    )


def nowhere(excluded: Sequence[Excluded], asked: str | None = None) -> RequestError:
    """What is told where no hop may serve the request.

    `asked`: the name that the client asked for, where its list of models does not have it.
    """
    reasons = "; ".join(f"{target}: {reason}" for target, reason, _ in excluded)
    for exclusion in Exclusion:
        if any(one is exclusion for _, _, one in excluded):
            if exclusion is Exclusion.MODELS and asked is not None:
                return not_found(asked)
            status, code = exclusion.value
            may = "may" if status == 403 else "can"
            return RequestError(
                status,
                "invalid_request_error",
                code,
                f"No target {may} serve this request ({reasons}).",
            )
    return RequestError(
        403,
        "invalid_request_error",
        "no_target_allowed",
        f"No target may serve this request ({reasons}).",
    )
