"""The headers of answers."""

import re

from turnout.conformance.api import ABSENT, UNKNOWN_MODEL, Api
from turnout.conformance.case import Area, Skipped
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import parsed, require, same
from turnout.conformance.sources import RECORDED, python_sdk, reference, rfc

AREA = Area("headers", "the headers of answers", "chat/completions")

DEBUGGING = reference("debugging-requests")
ID = "x-request-id"
# Those whose own headers these are.
PROVIDERS = ("api.openai.com", "api.anthropic.com", "openai.azure.com")
HOP_BY_HOP = ("proxy-authenticate", "proxy-authorization", "te", "upgrade", "proxy-connection")
EDGE = ("set-cookie", "cf-ray", "cf-cache-status", "alt-svc", "via", "x-amzn-requestid")
ACCOUNT = ("openai-organization", "openai-project", "anthropic-organization-id")
_RESET = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")


def _behind(api: Api) -> None:
    """Leave the question to those who stand in front of a provider."""
    if any(host in api.target.base_url for host in PROVIDERS):
        raise Skipped("this is the provider itself")


async def _both(api: Api) -> tuple[Exchange, Exchange]:
    whole, streamed = await api.chat(), await api.stream()
    whole.accepted()
    streamed.granted()
    return whole, streamed


def _identified(answer: Exchange) -> None:
    same(len(answer.headers_named(ID)), 1, f"the number of `{ID}`")
    require(bool(answer.header(ID)), f"`{ID}` is empty")


@AREA.case(DEBUGGING, python_sdk("_models.py"))
async def an_answer_has_a_request_id(api: Api) -> None:
    """An answer has one `x-request-id`, which SDKs show to whoever looks for a request."""
    answer = await api.chat()
    answer.accepted()
    _identified(answer)


@AREA.case(DEBUGGING)
async def a_stream_has_a_request_id(api: Api) -> None:
    """A stream has one `x-request-id`."""
    answer = await api.stream()
    answer.granted()
    _identified(answer)


@AREA.case(DEBUGGING, python_sdk("_exceptions.py"))
async def a_refusal_has_a_request_id(api: Api) -> None:
    """A refusal with 400 has one `x-request-id`."""
    answer = await api.chat(messages=ABSENT)
    answer.refused(400, 422)
    _identified(answer)


@AREA.case(RECORDED)
async def a_refused_model_has_a_request_id(api: Api) -> None:
    """The refusal of an unknown model has one `x-request-id`."""
    answer = await api.chat(model=UNKNOWN_MODEL)
    answer.refused(400, 404)
    _identified(answer)


@AREA.case(DEBUGGING)
async def each_request_has_its_own_id(api: Api) -> None:
    """No two answers have the same `x-request-id`."""
    answers = [await api.chat(), await api.chat(occasion=1), await api.stream()]
    ids = [answer.header(ID) for answer in answers]
    same(len(set(ids)), len(ids), "the number of different ids")


@AREA.case(rfc(9110, "8.3"))
async def there_is_one_content_type(api: Api) -> None:
    """An answer has one content type; if it names a charset, that is UTF-8."""
    for answer in await _both(api):
        kinds = answer.headers_named("content-type")
        same(len(kinds), 1, "the number of content types")
        charset = kinds[0].lower().partition("charset=")[2].strip('" ')
        require(charset in ("", "utf-8"), f"the charset is {charset}")


@AREA.case(rfc(9112, "6.3"))
async def the_length_is_told_in_one_way(api: Api) -> None:
    """An answer has a length or comes in chunks, never both."""
    for answer in await _both(api):
        told = [n for n in ("content-length", "transfer-encoding") if answer.header(n) is not None]
        require(len(told) < 2, "there are `content-length` and `transfer-encoding`")


@AREA.case(rfc(9110, "12.5.3"))
async def nothing_is_compressed_unasked(api: Api) -> None:
    """An answer to `accept-encoding: identity` is not compressed."""
    for answer in await _both(api):
        encoding = answer.header("content-encoding")
        require(encoding in (None, "identity"), f"`content-encoding` is {encoding}")


@AREA.case(rfc(9110, "8.4"))
async def compression_that_was_asked_can_be_undone(api: Api) -> None:
    """An answer to `accept-encoding: gzip` is JSON, once decoded as its headers say."""
    body = {"model": api.target.model, "messages": [{"role": "user", "content": "Say hello."}]}
    answer = await api.post("chat/completions", body, headers={"accept-encoding": "gzip"})
    answer.accepted()
    parsed(answer.text, "the body")


@AREA.case(rfc(9110, "7.6.1"))
async def no_hop_by_hop_header_comes_through(api: Api) -> None:
    """Headers that are about one connection alone do not come through."""
    for answer in await _both(api):
        found = [name for name in HOP_BY_HOP if answer.header(name) is not None]
        require(not found, f"there is {', '.join(found)}")


@AREA.case(rfc(9110, "7.6.1"))
async def no_edge_of_a_provider_comes_through(api: Api) -> None:
    """Cookies and headers of a provider's edge do not come through a gateway."""
    _behind(api)
    for answer in await _both(api):
        found = [name for name in EDGE if answer.header(name) is not None]
        if "cloudflare" in (answer.header("server") or ""):
            found.append("server")
        require(not found, f"there is {', '.join(found)}")


@AREA.case(reference("debugging-requests"))
async def no_account_of_a_provider_comes_through(api: Api) -> None:
    """The account behind a gateway is not told to its clients."""
    _behind(api)
    for answer in await _both(api):
        found = [name for name in ACCOUNT if answer.header(name) is not None]
        require(not found, f"there is {', '.join(found)}")


@AREA.case(rfc(9110, "15.3.1"))
async def an_answer_leads_nowhere_else(api: Api) -> None:
    """An answer with status 200 has no `location`."""
    for answer in await _both(api):
        require(answer.header("location") is None, "there is a `location`")


@AREA.case(RECORDED)
async def rate_limits_are_in_their_form(api: Api) -> None:
    """Rate limits, where they are told, are whole numbers, and resets are durations as in Go."""
    answer = await api.chat()
    answer.accepted()
    limits = [(n, v) for n, v in answer.headers if n.startswith("x-ratelimit-")]
    if not limits:
        raise Skipped("no rate limits are told")
    for name, value in limits:
        if "-reset-" in name:
            require(bool(_RESET.fullmatch(value)), f"`{name}` is {value}")
        elif "-limit-" in name or "-remaining-" in name:
            require(value.isdecimal(), f"`{name}` is {value}")


@AREA.case(DEBUGGING)
async def a_browser_may_read_the_request_id(api: Api) -> None:
    """Where an answer may be read from other origins, its `x-request-id` may be, too."""
    answer = await api.chat()
    answer.accepted()
    if answer.header("access-control-allow-origin") is None:
        raise Skipped("answers are not for other origins")
    exposed = (answer.header("access-control-expose-headers") or "").lower()
    require(ID in exposed or "*" in exposed, f"exposed are only: {exposed or 'none'}")
