"""A streamed chat completion: its framing, its chunks, its end."""

# Over 300 lines because streaming is where wires differ most, and each case is its own sentence.

from turnout.conformance.api import Api, user
from turnout.conformance.areas.chat_response import FINISHES, LONG, STOPPED
from turnout.conformance.case import Area
from turnout.conformance.chat_stream import DONE, ChatStream
from turnout.conformance.look import (
    array,
    at,
    filled,
    mapping,
    one_of,
    parsed,
    require,
    same,
    shown,
    text,
    whole,
)
from turnout.conformance.sources import (
    EVENT_STREAM,
    RECORDED,
    node_sdk,
    python_sdk,
    reference,
    spec,
)

AREA = Area("streaming", "framing, chunks and end of a streamed chat answer", "chat/completions")

STREAMING = reference("chat/streaming")
CHUNK = spec("CreateChatCompletionStreamResponse")
OPTIONS = spec("ChatCompletionStreamOptions")
WITH_USAGE = {"include_usage": True}


async def _plain(api: Api) -> ChatStream:
    return ChatStream(await api.stream())


async def _with_usage(api: Api) -> ChatStream:
    return ChatStream(await api.stream(stream_options=WITH_USAGE))


@AREA.case(EVENT_STREAM, RECORDED)
async def the_content_type_is_event_stream(api: Api) -> None:
    """A stream has the content type `text/event-stream`."""
    answer = await api.stream()
    answer.granted()
    same(answer.media_type, "text/event-stream", "the content type")


@AREA.case(EVENT_STREAM)
async def the_text_is_utf_8(api: Api) -> None:
    """A stream is UTF-8 without a byte order mark, whatever characters it carries."""
    asked = [user("Repeat these words exactly and nothing else: Zürich 東京 🚂 café")]
    stream = ChatStream(await api.stream(messages=asked))
    require(
        not stream.exchange.body.startswith(b"\xef\xbb\xbf"), "it begins with a byte order mark"
    )
    require("\ufffd" not in stream.content(), f"the content is {shown(stream.content())}")


@AREA.case(STREAMING, EVENT_STREAM)
async def each_line_is_data_or_a_comment(api: Api) -> None:
    """Each line is `data: …`, a comment or blank: chat streams are data-only events."""
    for line in (await _plain(api)).exchange.events.lines:
        require(not line or line.startswith(("data: ", ":")), f"there is the line {shown(line)}")


@AREA.case(STREAMING)
async def no_event_has_a_name(api: Api) -> None:
    """No `event:` line stands in a chat stream."""
    for event in (await _plain(api)).exchange.events.events:
        require(event.name is None, f"an event is named {shown(event.name)}")


@AREA.case(EVENT_STREAM, RECORDED)
async def each_event_has_one_data_line(api: Api) -> None:
    """The JSON of an event is on one line; some clients read no second."""
    for event in (await _plain(api)).exchange.events.events:
        same(len(event.data), 1, "the number of data lines of an event")


@AREA.case(EVENT_STREAM)
async def each_event_ends_with_a_blank_line(api: Api) -> None:
    """Each event is ended by a blank line, the last one too: a client drops what is not."""
    rest = (await _plain(api)).exchange.events.rest
    same(rest, "", "what follows the last blank line")


@AREA.case(STREAMING, python_sdk("_streaming.py"))
async def each_event_is_json(api: Api) -> None:
    """The data of each event but the last is one JSON object."""
    answer = await api.stream()
    answer.granted()
    for event in answer.events.events:
        if not event.text.startswith(DONE):
            mapping(parsed(event.text, "the data of an event"))


@AREA.case(reference("chat/create"), node_sdk("core/streaming.ts"))
async def done_ends_the_stream(api: Api) -> None:
    """The last event is `[DONE]`, exactly so."""
    same((await _plain(api)).data[-1], DONE, "the last event")


@AREA.case(reference("chat/create"))
async def done_comes_once(api: Api) -> None:
    """`[DONE]` comes once."""
    same((await _plain(api)).data.count(DONE), 1, "the number of `[DONE]`")


@AREA.case(STREAMING)
async def the_body_ends_well(api: Api) -> None:
    """The body ends when the stream does, and is not broken off."""
    broken = (await _plain(api)).exchange.broken
    require(broken is None, f"the body broke off: {broken}")


@AREA.case(CHUNK)
async def each_chunk_is_named(api: Api) -> None:
    """`object` of each chunk is `chat.completion.chunk`."""
    for chunk in (await _plain(api)).chunks:
        same(at(chunk, "object"), "chat.completion.chunk", "`object` of a chunk")


@AREA.case(CHUNK)
async def all_chunks_have_the_same_id(api: Api) -> None:
    """Each chunk has the same `id`, which is not empty."""
    same(len({filled(chunk, "id") for chunk in (await _plain(api)).chunks}), 1, "the number of ids")


@AREA.case(CHUNK)
async def all_chunks_have_the_same_created(api: Api) -> None:
    """Each chunk has the same `created`, in seconds."""
    moments = {whole(chunk, "created") for chunk in (await _plain(api)).chunks}
    same(len(moments), 1, "the number of moments")
    require(1_500_000_000 < min(moments) < 5_000_000_000, f"`created` is {min(moments)}")


@AREA.case(CHUNK)
async def all_chunks_have_the_same_model(api: Api) -> None:
    """Each chunk names the same `model`."""
    models = {filled(chunk, "model") for chunk in (await _plain(api)).chunks}
    same(len(models), 1, "the number of models")


@AREA.case(CHUNK)
async def two_streams_have_two_ids(api: Api) -> None:
    """Another stream has another id."""
    other = ChatStream(await api.stream(occasion=1))
    ids = (text((await _plain(api)).chunks[0], "id"), text(other.chunks[0], "id"))
    require(ids[0] != ids[1], "two streams have the same id")


@AREA.case(CHUNK)
async def each_choice_has_index_delta_and_finish(api: Api) -> None:
    """Each choice of a chunk has `index`, `delta` and `finish_reason`, which may be null."""
    for chunk in (await _plain(api)).chunks:
        for choice in array(chunk, "choices"):
            whole(choice, "index")
            mapping(choice, "delta")
            at(choice, "finish_reason")


@AREA.case(CHUNK)
async def no_choice_has_a_message(api: Api) -> None:
    """A chunk has deltas, and no `message` as a whole answer has."""
    for part in (await _plain(api)).parts():
        require("message" not in part, "a choice of a chunk has a `message`")


@AREA.case(OPTIONS, CHUNK)
async def choices_are_empty_only_beside_the_usage(api: Api) -> None:
    """A chunk without choices comes only where usage was asked for, to carry it."""
    for chunk in (await _plain(api)).chunks:
        require(bool(array(chunk, "choices")), "a chunk has no choices")


@AREA.case(STREAMING, RECORDED)
async def the_first_delta_has_the_role(api: Api) -> None:
    """The first delta of a choice says `role: assistant`."""
    same((await _plain(api)).deltas()[0].get("role"), "assistant", "the role of the first delta")


@AREA.case(STREAMING, RECORDED)
async def the_role_comes_once(api: Api) -> None:
    """No delta after the first has a role: clients that add deltas up would add it too."""
    roles = [delta["role"] for delta in (await _plain(api)).deltas() if delta.get("role")]
    same(len(roles), 1, "the number of roles")


@AREA.case(spec("ChatCompletionStreamResponseDelta"))
async def the_content_is_text(api: Api) -> None:
    """`content` of each delta is a string, null or not there, and there is some."""
    stream = await _plain(api)
    for delta in stream.deltas():
        if delta.get("content") is not None:
            text(delta, "content")
    require(stream.content() != "", "the stream has no content")


@AREA.case(CHUNK)
async def the_finish_comes_once(api: Api) -> None:
    """A choice finishes once."""
    same(len((await _plain(api)).finishes()), 1, "the number of finish reasons")


@AREA.case(CHUNK)
async def the_finish_reason_is_known(api: Api) -> None:
    """The finish reason is one of those that the specification lists."""
    for reason in (await _plain(api)).finishes():
        one_of(reason, FINISHES, "`finish_reason`")


@AREA.case(STREAMING, RECORDED)
async def nothing_follows_the_finish(api: Api) -> None:
    """After a choice's finish reason come no more of its deltas."""
    parts = (await _plain(api)).parts()
    require(
        bool(parts[-1].get("finish_reason")), "the last part of the choice has no finish reason"
    )


@AREA.case(node_sdk("core/streaming.ts"), python_sdk("_streaming.py"))
async def no_chunk_has_an_error(api: Api) -> None:
    """No chunk has the key `error`, not even as null: clients take it for a failure."""
    for chunk in (await _plain(api)).chunks:
        require("error" not in chunk, f"`error` is {shown(chunk.get('error'))}")


@AREA.case(OPTIONS)
async def usage_does_not_come_unasked(api: Api) -> None:
    """Without `stream_options.include_usage` no chunk has usage."""
    require(not (await _plain(api)).with_usage(), "a chunk has usage that nobody asked for")


@AREA.case(OPTIONS)
async def usage_can_be_declined(api: Api) -> None:
    """With `include_usage: false` no chunk has usage."""
    stream = ChatStream(await api.stream(stream_options={"include_usage": False}))
    require(not stream.with_usage(), "a chunk has usage that was declined")


@AREA.case(OPTIONS)
async def usage_comes_once(api: Api) -> None:
    """With `include_usage` one chunk has usage."""
    same(len((await _with_usage(api)).with_usage()), 1, "the number of chunks with usage")


@AREA.case(OPTIONS)
async def the_usage_chunk_has_no_choices(api: Api) -> None:
    """`choices` of the chunk with the usage is an empty array."""
    for chunk in (await _with_usage(api)).with_usage():
        same(array(chunk, "choices"), [], "`choices` of the chunk with usage")


@AREA.case(OPTIONS)
async def the_usage_chunk_is_last(api: Api) -> None:
    """The chunk with the usage is the last one before `[DONE]`."""
    last = (await _with_usage(api)).chunks[-1]
    require(last.get("usage") is not None, "the last chunk has no usage")


@AREA.case(OPTIONS)
async def usage_is_null_on_the_others(api: Api) -> None:
    """With `include_usage` all other chunks have `usage: null`."""
    for chunk in (await _with_usage(api)).chunks:
        at(chunk, "usage")


@AREA.case(spec("CompletionUsage"))
async def the_usage_adds_up(api: Api) -> None:
    """The total of the streamed usage is the sum of its parts."""
    for chunk in (await _with_usage(api)).with_usage():
        usage = mapping(chunk, "usage")
        parts = whole(usage, "prompt_tokens") + whole(usage, "completion_tokens")
        same(whole(usage, "total_tokens"), parts, "`usage.total_tokens`")


@AREA.case(spec("CompletionUsage"))
async def the_prompt_counts_as_in_a_whole_answer(api: Api) -> None:
    """A prompt has as many tokens streamed as not."""
    streamed = (await _with_usage(api)).chunks[-1]
    told = whole(streamed, "usage", "prompt_tokens")
    same(told, whole((await api.chat()).accepted(), "usage", "prompt_tokens"), "`prompt_tokens`")


@AREA.case(spec("CreateChatCompletionRequest"))
async def null_stream_options_are_none(api: Api) -> None:
    """`stream_options: null` is as if it were not there."""
    require(not ChatStream(await api.stream(stream_options=None)).with_usage(), "there is usage")


@AREA.case(CHUNK)
async def a_short_limit_is_told(api: Api) -> None:
    """A stream that reached `max_completion_tokens` finishes with `length`."""
    stream = ChatStream(await api.stream(messages=LONG, max_completion_tokens=16))
    same(stream.finishes(), ["length"], "the finish reasons")


@AREA.case(spec("StopConfiguration"))
async def a_stop_sequence_is_left_out(api: Api) -> None:
    """A stop sequence ends the stream with `stop` and is in none of its deltas."""
    stream = ChatStream(await api.stream(messages=STOPPED, stop=["gamma"]), "stop")
    require("gamma" not in stream.content(), f"the content is {shown(stream.content())}")
    same(stream.finishes(), ["stop"], "the finish reasons")


@AREA.case(CHUNK)
async def n_choices_have_their_indices(api: Api) -> None:
    """With `n: 2` there are parts of the choices 0 and 1 and of no other."""
    stream = ChatStream(await api.stream(n=2), "n")
    found = {whole(part, "index") for chunk in stream.chunks for part in array(chunk, "choices")}
    same(sorted(found), [0, 1], "the indices")


@AREA.case(CHUNK)
async def each_of_n_choices_is_whole(api: Api) -> None:
    """Each of two choices has its own role, text and finish."""
    stream = ChatStream(await api.stream(n=2), "n")
    for index in (0, 1):
        roles = [delta["role"] for delta in stream.deltas(index) if delta.get("role")]
        same(len(roles), 1, f"the number of roles of choice {index}")
        require(stream.content(index) != "", f"choice {index} has no content")
        same(len(stream.finishes(index)), 1, f"the number of finishes of choice {index}")


@AREA.case(OPTIONS)
async def n_choices_have_one_usage(api: Api) -> None:
    """With `n: 2` one chunk has the usage of both choices."""
    stream = ChatStream(await api.stream(n=2, stream_options=WITH_USAGE), "n")
    same(len(stream.with_usage()), 1, "the number of chunks with usage")


@AREA.case(spec("ChatCompletionTokenLogprob"))
async def logprobs_come_when_asked(api: Api) -> None:
    """With `logprobs: true` the deltas come with the log probabilities of their tokens."""
    stream = ChatStream(await api.stream(logprobs=True), "logprobs")
    tokens = [part for part in stream.parts() if part.get("logprobs")]
    require(bool(tokens), "no part has `logprobs`")
    for part in tokens:
        for token in at(part, "logprobs", "content") or ():
            text(token, "token")


@AREA.case(reference("chat/create"))
async def a_client_may_leave(api: Api) -> None:
    """A client that leaves in the midst of a stream spoils nothing for the next request."""
    body = {"model": api.target.model, "messages": LONG, "stream": True}
    await api.leave("chat/completions", body)
    (await api.chat(occasion=2)).accepted()
