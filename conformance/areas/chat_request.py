"""What a chat completion may ask: forms of a body that real clients send and OpenAI takes."""

import json
from typing import Any

from turnout.conformance.api import Api, user
from turnout.conformance.case import Area, Skipped
from turnout.conformance.exchange import Exchange
from turnout.conformance.look import array, filled, require, same, whole
from turnout.conformance.sources import node_sdk, python_sdk, reference, rfc, spec

AREA = Area("request", "forms of a chat request that are taken", "chat/completions")

CREATE = reference("chat/create")
REQUEST = spec("CreateChatCompletionRequest")
# A red square of 16 by 16.
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAIAAACQkWg2AAAAFklEQVR42mP4z8BAEmIY"
    "1TCqYfhqAACQ+f8B8u7oVwAAAABJRU5ErkJggg=="
)


def _answered(answer: Exchange, *parameters: str) -> dict[str, Any]:
    body = answer.accepted(*parameters)
    require(bool(array(body, "choices")), "`choices` is empty")
    return dict(body)


@AREA.case(REQUEST)
async def model_and_messages_are_enough(api: Api) -> None:
    """A body with `model` and `messages` alone is answered."""
    _answered(await api.chat())


@AREA.case(REQUEST)
async def content_may_be_parts(api: Api) -> None:
    """The content of a message may be an array of text parts."""
    parts = [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}]
    _answered(await api.chat(messages=[user(parts)]))


@AREA.case(REQUEST)
async def a_system_message_may_lead(api: Api) -> None:
    """A message with the role `system` is taken."""
    system = {"role": "system", "content": "Answer in English."}
    _answered(await api.chat(messages=[system, user("Say hello.")]))


@AREA.case(REQUEST)
async def a_developer_message_may_lead(api: Api) -> None:
    """A message with the role `developer` is taken, whatever the model calls it."""
    developer = {"role": "developer", "content": "Answer in English."}
    _answered(await api.chat(messages=[developer, user("Say hello.")]), "developer")


@AREA.case(REQUEST)
async def a_system_message_may_be_parts(api: Api) -> None:
    """The content of a system message may be an array of text parts."""
    system = {"role": "system", "content": [{"type": "text", "text": "Answer in English."}]}
    _answered(await api.chat(messages=[system, user("Say hello.")]))


@AREA.case(REQUEST)
async def a_conversation_may_be_continued(api: Api) -> None:
    """A history of user and assistant messages is taken."""
    history = [user("Say one."), {"role": "assistant", "content": "One."}, user("Say two.")]
    _answered(await api.chat(messages=history))


@AREA.case(REQUEST)
async def two_user_messages_may_follow(api: Api) -> None:
    """Two messages of the user, one behind the other, are taken."""
    _answered(await api.chat(messages=[user("Say one."), user("Say two.")]))


@AREA.case(REQUEST)
async def a_message_may_have_a_name(api: Api) -> None:
    """A message may say with `name` who wrote it."""
    _answered(await api.chat(messages=[user("Say hello.") | {"name": "ada"}]))


@AREA.case(REQUEST, python_sdk("types/chat/completion_create_params.py"))
async def nulls_stand_for_what_is_left_out(api: Api) -> None:
    """Optional members that the specification calls nullable may be null."""
    names = (
        *("stop", "n", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens"),
        *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
        *("stream", "stream_options", "metadata"),
    )
    body = _answered(await api.chat(0, **dict.fromkeys(names)))
    same(len(array(body, "choices")), 1, "the number of choices")


@AREA.case(REQUEST)
async def stream_false_is_a_whole_answer(api: Api) -> None:
    """With `stream: false` the answer is one JSON body."""
    answer = await api.chat(stream=False)
    _answered(answer)
    same(answer.media_type, "application/json", "the content type")


@AREA.case(REQUEST)
async def max_completion_tokens_is_taken(api: Api) -> None:
    """`max_completion_tokens` is taken."""
    _answered(await api.chat(max_completion_tokens=2000))


@AREA.case(REQUEST)
async def max_tokens_is_taken_or_refused_by_name(api: Api) -> None:
    """`max_tokens`, deprecated, is taken or, by reasoning models, refused as unsupported."""
    _answered(await api.chat(max_tokens=2000), "max_tokens")


@AREA.case(REQUEST)
async def stop_may_be_a_string(api: Api) -> None:
    """`stop` may be one string."""
    _answered(await api.chat(stop="zebra"), "stop")


@AREA.case(REQUEST)
async def stop_may_be_four_strings(api: Api) -> None:
    """`stop` may be an array of up to four strings."""
    _answered(await api.chat(stop=["zebra", "quagga", "okapi", "tapir"]), "stop")


@AREA.case(REQUEST)
async def n_one_is_one_choice(api: Api) -> None:
    """`n: 1` is taken by every model."""
    same(len(array(_answered(await api.chat(n=1)), "choices")), 1, "the number of choices")


@AREA.case(REQUEST)
async def temperature_and_top_p_are_taken(api: Api) -> None:
    """`temperature` and `top_p` are taken."""
    _answered(await api.chat(temperature=0.5, top_p=0.9), "temperature")


@AREA.case(REQUEST)
async def a_seed_is_taken(api: Api) -> None:
    """`seed` is taken."""
    _answered(await api.chat(seed=7), "seed")


@AREA.case(REQUEST)
async def penalties_of_zero_are_taken(api: Api) -> None:
    """Penalties may be said to be zero, which is their default."""
    _answered(await api.chat(presence_penalty=0, frequency_penalty=0), "penalty")


@AREA.case(REQUEST)
async def a_user_is_taken(api: Api) -> None:
    """`user` is taken."""
    _answered(await api.chat(user="user-1234"), "user")


@AREA.case(REQUEST)
async def a_text_format_is_taken(api: Api) -> None:
    """`response_format` may ask for text, which is the default."""
    _answered(await api.chat(response_format={"type": "text"}), "response_format")


@AREA.case(REQUEST)
async def an_image_may_be_data(api: Api) -> None:
    """An image may be sent as a data URL to a model that sees."""
    image = {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}
    answer = await api.chat(messages=[user([{"type": "text", "text": "Colour?"}, image])])
    if answer.status == 400:
        answer.refused(400)
        raise Skipped("the model takes no images")
    _answered(answer)


@AREA.case(rfc(8259, "7"))
async def escaped_and_plain_text_are_the_same(api: Api) -> None:
    r"""A character may stand in JSON as it is or as `\u` escape, with the same prompt."""
    body = {"model": api.target.model, "messages": [user("Grüße aus 東京 🚂")]}
    escaped = json.dumps(body, ensure_ascii=True).encode()
    plain = json.dumps(body, ensure_ascii=False).encode()
    counted = [
        whole((await api.post("chat/completions", sent)).accepted(), "usage", "prompt_tokens")
        for sent in (escaped, plain)
    ]
    same(counted[1], counted[0], "`usage.prompt_tokens` of the plain text")


@AREA.case(rfc(8259, "4"))
async def members_may_be_in_any_order(api: Api) -> None:
    """The members of the body may come in any order."""
    body = {"messages": [{"content": "Say hello.", "role": "user"}], "model": api.target.model}
    _answered(await api.post("chat/completions", body))


@AREA.case(rfc(8259, "2"))
async def white_space_is_free(api: Api) -> None:
    """White space may stand between the tokens of the body."""
    body = {"model": api.target.model, "messages": [user("Say hello.")]}
    spread = json.dumps(body, indent=2).replace("\n", "\r\n\t").encode() + b"\r\n"
    _answered(await api.post("chat/completions", spread))


@AREA.case(rfc(9112, "7.1"))
async def a_body_may_come_in_chunks(api: Api) -> None:
    """The request's body may come in chunks, with no length said beforehand."""
    body = {"model": api.target.model, "messages": [user("Say hello.")]}
    written = json.dumps(body).encode()
    pieces = [written[start : start + 20] for start in range(0, len(written), 20)]
    _answered(await api.upload("chat/completions", pieces))


@AREA.case(rfc(9110, "8.3"))
async def a_charset_may_be_named(api: Api) -> None:
    """The content type may name its charset."""
    kind = {"content-type": "application/json; charset=utf-8"}
    body = {"model": api.target.model, "messages": [user("Say hello.")]}
    _answered(await api.post("chat/completions", body, headers=kind))


@AREA.case(rfc(9110, "12.5.1"))
async def accept_may_be_anything(api: Api) -> None:
    """A client that says `accept: */*` gets its answer."""
    body = {"model": api.target.model, "messages": [user("Say hello.")]}
    _answered(await api.post("chat/completions", body, headers={"accept": "*/*"}))


@AREA.case(node_sdk("client.ts"), python_sdk("_base_client.py"))
async def headers_of_the_sdks_are_ignored(api: Api) -> None:
    """Headers that SDKs add, and ones that nobody knows, change nothing."""
    more = {
        "x-stainless-lang": "python",
        "x-stainless-retry-count": "0",
        "x-stainless-read-timeout": "600",
        "openai-beta": "assistants=v2",
        "x-nobody-knows": "this",
    }
    body = {"model": api.target.model, "messages": [user("Say hello.")]}
    _answered(await api.post("chat/completions", body, headers=more))


@AREA.case(CREATE)
async def a_long_prompt_is_taken(api: Api) -> None:
    """A prompt of some thousand words is taken."""
    words = "the quick brown fox jumps over the lazy dog " * 300
    answer = await api.chat(messages=[user(f"Say hello. Ignore this: {words}")])
    filled(_answered(answer), "id")
