"""The list of models, and each of them."""

from typing import Any
from urllib.parse import quote

from turnout.conformance.api import UNKNOWN_MODEL, Api
from turnout.conformance.case import Area, Skipped
from turnout.conformance.look import array, at, filled, mapping, require, same, text, whole
from turnout.conformance.sources import RECORDED, python_sdk, reference, rfc, spec

AREA = Area("models", "the list of models, and each of them", "models")

LIST = spec("ListModelsResponse")
MODEL = spec("Model")


async def _all(api: Api) -> list[dict[str, Any]]:
    models = array((await api.send("GET", "models")).accepted(), "data")
    require(bool(models), "`data` is empty")
    return models


async def _one(api: Api, written: str) -> dict[str, Any]:
    return mapping((await api.send("GET", f"models/{written}")).accepted())


async def _with(api: Api, sign: str) -> str:
    """The id of a listed model with a sign in it."""
    for model in await _all(api):
        if sign in text(model, "id"):
            return text(model, "id")
    raise Skipped(f"no listed model has a `{sign}` in its id")


@AREA.case(LIST)
async def the_list_is_named(api: Api) -> None:
    """`object` of the list is `list`."""
    body = (await api.send("GET", "models")).accepted()
    same(at(body, "object"), "list", "`object`")


@AREA.case(LIST)
async def the_list_is_json(api: Api) -> None:
    """The list has the content type `application/json`."""
    answer = await api.send("GET", "models")
    answer.accepted()
    same(answer.media_type, "application/json", "the content type")


@AREA.case(LIST)
async def there_are_models(api: Api) -> None:
    """There is at least one model."""
    await _all(api)


@AREA.case(MODEL)
async def each_model_has_four_members(api: Api) -> None:
    """Each model has `id`, `object`, `created` in seconds and `owned_by`."""
    for model in await _all(api):
        filled(model, "id")
        same(at(model, "object"), "model", "`object` of a model")
        whole(model, "created")
        text(model, "owned_by")


@AREA.case(LIST)
async def each_model_is_listed_once(api: Api) -> None:
    """No id is listed twice."""
    ids = [text(model, "id") for model in await _all(api)]
    same(len(set(ids)), len(ids), "the number of different ids")


@AREA.case(reference("models/retrieve"))
async def a_listed_model_can_be_read(api: Api) -> None:
    """A listed model can be read by its id, as its SDK writes it into the path."""
    id = text((await _all(api))[0], "id")
    model = await _one(api, quote(id, safe=""))
    same(at(model, "id"), id, "`id`")
    same(at(model, "object"), "model", "`object`")


@AREA.case(rfc(3986, "2.2"), python_sdk("resources/models.py"))
async def an_id_with_a_slash_may_be_escaped(api: Api) -> None:
    """A model with `/` in its id is found with the slash escaped."""
    id = await _with(api, "/")
    same(at(await _one(api, quote(id, safe="")), "id"), id, "`id`")


@AREA.case(rfc(3986, "3.3"))
async def an_id_with_a_slash_may_be_plain(api: Api) -> None:
    """A model with `/` in its id is found with the slash as it is."""
    id = await _with(api, "/")
    same(at(await _one(api, quote(id, safe="/:")), "id"), id, "`id`")


@AREA.case(rfc(3986, "3.3"))
async def an_id_with_a_colon_may_be_escaped(api: Api) -> None:
    """A model with `:` in its id is found with the colon escaped."""
    id = await _with(api, ":")
    same(at(await _one(api, quote(id, safe="")), "id"), id, "`id`")


@AREA.case(rfc(3986, "3.3"))
async def an_id_with_a_colon_may_be_plain(api: Api) -> None:
    """A model with `:` in its id is found with the colon as it is."""
    id = await _with(api, ":")
    same(at(await _one(api, quote(id, safe="/:")), "id"), id, "`id`")


@AREA.case(RECORDED)
async def an_unknown_model_is_not_found(api: Api) -> None:
    """A model that there is not is refused with 404, code `model_not_found`."""
    error = (await api.send("GET", f"models/{UNKNOWN_MODEL}")).refused(404)
    same(at(error, "code"), "model_not_found", "`error.code`")


@AREA.case(reference("debugging-requests"))
async def the_list_has_a_request_id(api: Api) -> None:
    """The list has an `x-request-id`."""
    answer = await api.send("GET", "models")
    answer.accepted()
    require(bool(answer.header("x-request-id")), "there is no `x-request-id`")
