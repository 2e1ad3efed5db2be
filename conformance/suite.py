"""All areas in the order of a report, and which cases are asked for."""

from collections.abc import Collection

from .areas import (
    chat_request,
    chat_response,
    chat_streaming,
    completions,
    counting,
    embeddings,
    errors,
    headers,
    messages,
    models,
    responses,
    structured,
    tokens,
    tools,
)
from .case import Area, Case

AREAS: tuple[Area, ...] = (
    chat_request.AREA,
    chat_response.AREA,
    chat_streaming.AREA,
    tools.AREA,
    structured.AREA,
    errors.AREA,
    headers.AREA,
    tokens.AREA,
    models.AREA,
    embeddings.AREA,
    completions.AREA,
    responses.AREA,
    messages.AREA,
    counting.AREA,
)


def cases() -> list[Case]:
    """All cases, area by area."""
    return [case for area in AREAS for case in area.cases]


def chosen(
    only: Collection[str] = (), skip: Collection[str] = (), ids: Collection[str] = ()
) -> list[Case]:
    """The cases of the areas in `only` (all if empty) but for those in `skip`, or those `ids`.

    Raises: KeyError with the name of an area or the id of a case that there is not.
    """
    known = {area.name for area in AREAS}
    by_id = {case.id: case for case in cases()}
    for name in (*only, *skip):
        if name not in known:
            raise KeyError(name)
    if ids:
        return [by_id[id] for id in ids]
    wanted = set(only or known) - set(skip)
    return [case for case in cases() if case.area in wanted]
