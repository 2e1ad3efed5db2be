"""The wire as Google's own client reads it: its types forbid members that they do not know."""

import json
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count

MODEL = "gemini-2.5-flash"
NEW = "gemini-3-flash-preview"
HELLO = "hello brave new world"
SAID = f"simulated answer by {MODEL}: you said: {HELLO}"
WEATHER = types.FunctionDeclaration(
    name="get_weather",
    description="The weather of a city.",
    parameters_json_schema={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
)
TIME = types.FunctionDeclaration(name="get_time")
TOOLS = [types.Tool(function_declarations=[WEATHER, TIME])]


def config(**members: Any) -> types.GenerateContentConfig:
    by_hand = types.AutomaticFunctionCallingConfig(disable=True)
    return types.GenerateContentConfig(automatic_function_calling=by_hand, **members)


@pytest.fixture
def gemini(simulator: SimulatorProcess) -> Iterator[genai.Client]:
    root = simulator.base_url("gemini").removesuffix("/v1beta")
    options = types.HttpOptions(
        base_url=root,
        api_version="v1beta",
        timeout=10_000,
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    client = genai.Client(api_key="any-key-at-all", vertexai=False, http_options=options)
    yield client
    client.close()


def parts_of(answer: types.GenerateContentResponse) -> list[types.Part]:
    assert answer.candidates and answer.candidates[0].content
    return answer.candidates[0].content.parts or []


def usage_of(answer: types.GenerateContentResponse) -> types.GenerateContentResponseUsageMetadata:
    assert answer.usage_metadata is not None
    return answer.usage_metadata


def test_an_answer_has_the_words_of_the_prompt(gemini: genai.Client) -> None:
    answer = gemini.models.generate_content(model=MODEL, contents=HELLO)
    assert answer.text == SAID
    assert answer.candidates and answer.candidates[0].finish_reason is types.FinishReason.STOP
    usage = usage_of(answer)
    assert usage.candidates_token_count == count(SAID)
    assert usage.prompt_token_count and usage.total_token_count == (
        usage.prompt_token_count + count(SAID)
    )
    assert answer.model_version == MODEL and answer.response_id


async def test_the_asynchronous_client_reads_the_same(gemini: genai.Client) -> None:
    whole = await gemini.aio.models.generate_content(model=MODEL, contents=HELLO)
    stream = await gemini.aio.models.generate_content_stream(model=MODEL, contents=HELLO)
    assert whole.text == "".join([chunk.text or "" async for chunk in stream]) == SAID
    with pytest.raises(errors.ClientError):
        await gemini.aio.models.generate_content(
            model=MODEL, contents="x", config=config(seed=2**40)
        )
    await gemini.aio.aclose()


def test_a_stream_adds_up_to_the_whole_answer(gemini: genai.Client) -> None:
    chunks = list(gemini.models.generate_content_stream(model=MODEL, contents=HELLO))
    assert len(chunks) > 4
    assert "".join(chunk.text or "" for chunk in chunks) == SAID
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert reasons == [None] * (len(chunks) - 1) + [types.FinishReason.STOP]
    assert len({chunk.response_id for chunk in chunks}) == 1
    assert usage_of(chunks[-1]).candidates_token_count == count(SAID)


def posted(simulator: SimulatorProcess, path: str, body: dict[str, Any]) -> tuple[str, Any]:
    request = urllib.request.Request(
        f"{simulator.base_url('gemini')}/{path}",
        data=json.dumps(body).encode(),
        headers={"x-goog-api-key": "any", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers["content-type"], json.load(response)


def test_a_stream_without_alt_is_one_array(simulator: SimulatorProcess) -> None:
    body = {"contents": [{"parts": [{"text": HELLO}]}]}
    kind, events = posted(simulator, f"models/{MODEL}:streamGenerateContent", body)
    assert kind.startswith("application/json")
    told = [types.GenerateContentResponse.model_validate(event) for event in events]
    assert "".join(one.text or "" for one in told) == SAID


def test_an_answer_has_no_member_that_google_does_not_know(simulator: SimulatorProcess) -> None:
    body = {
        "contents": [{"role": "user", "parts": [{"text": HELLO}]}],
        "generationConfig": {
            "responseLogprobs": True,
            "logprobs": 2,
            "thinkingConfig": {"includeThoughts": True},
        },
    }
    _, told = posted(simulator, f"models/{MODEL}:generateContent", body)
    read = types.GenerateContentResponse.model_validate(told)
    assert read.model_dump(by_alias=True, exclude_none=True, mode="json") == told


@pytest.mark.parametrize(("limit", "reason"), [(4, "MAX_TOKENS"), (999, "STOP")])
def test_a_limit_cuts_and_says_so(gemini: genai.Client, limit: int, reason: str) -> None:
    answer = gemini.models.generate_content(
        model=MODEL, contents=HELLO, config=config(max_output_tokens=limit)
    )
    assert answer.candidates and answer.candidates[0].finish_reason == types.FinishReason(reason)
    assert (usage_of(answer).candidates_token_count == 4) is (limit == 4)


def test_a_stop_sequence_ends_the_answer(gemini: genai.Client) -> None:
    answer = gemini.models.generate_content(
        model=MODEL, contents=HELLO, config=config(stop_sequences=[" new"])
    )
    assert answer.text == SAID.partition(" new")[0]


def test_system_instructions_and_images_count(gemini: genai.Client) -> None:
    plain = gemini.models.generate_content(model=MODEL, contents=HELLO)
    more = gemini.models.generate_content(
        model=MODEL,
        contents=[HELLO, types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")],
        config=config(system_instruction="be kind"),
    )
    added = (usage_of(more).prompt_token_count or 0) - (usage_of(plain).prompt_token_count or 0)
    assert added == 3 + count("system") + count("be kind") + 765


def test_several_candidates_are_numbered(gemini: genai.Client) -> None:
    answer = gemini.models.generate_content(
        model=MODEL, contents=HELLO, config=config(candidate_count=3)
    )
    assert [one.index for one in answer.candidates or ()] == [0, 1, 2]
    chunks = gemini.models.generate_content_stream(
        model=MODEL, contents=HELLO, config=config(candidate_count=2)
    )
    seen = {one.index for chunk in chunks for one in chunk.candidates or ()}
    assert seen == {0, 1}


def test_log_probabilities_are_told_for_each_token(gemini: genai.Client) -> None:
    answer = gemini.models.generate_content(
        model=MODEL, contents=HELLO, config=config(response_logprobs=True, logprobs=2)
    )
    assert answer.candidates
    result = answer.candidates[0].logprobs_result
    assert result and result.chosen_candidates and result.top_candidates
    assert "".join(one.token or "" for one in result.chosen_candidates) == SAID
    assert {len(top.candidates or ()) for top in result.top_candidates} == {2}


def test_thoughts_come_first_and_are_counted_apart(gemini: genai.Client) -> None:
    asked = config(thinking_config=types.ThinkingConfig(include_thoughts=True))
    answer = gemini.models.generate_content(model=MODEL, contents=HELLO, config=asked)
    thought, said = parts_of(answer)
    assert thought.thought and thought.text == f"thinking about: {HELLO}"
    assert said.text == answer.text == SAID
    usage = usage_of(answer)
    assert usage.thoughts_token_count == count(thought.text)
    assert usage.total_token_count == sum(
        n or 0
        for n in (
            usage.prompt_token_count,
            usage.candidates_token_count,
            usage.thoughts_token_count,
        )
    )


@pytest.mark.parametrize(
    ("model", "thinking"),
    [
        ("gemini-2.0-flash", {"thinking_budget": 1024}),
        (MODEL, {"thinking_level": "LOW"}),
        (NEW, {"thinking_level": "LOW", "thinking_budget": 5}),
        ("gemini-2.5-pro", {"thinking_budget": 0}),
        ("gemini-3-pro-preview", {"thinking_level": "MINIMAL"}),
    ],
)
def test_thinking_that_a_model_does_not_have_is_refused(
    gemini: genai.Client, model: str, thinking: dict[str, Any]
) -> None:
    with pytest.raises(errors.ClientError) as caught:
        gemini.models.generate_content(
            model=model,
            contents=HELLO,
            config=config(thinking_config=types.ThinkingConfig(**thinking)),
        )
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("own", [True, False], ids=["json-schema", "googles-schema"])
def test_an_answer_fits_its_schema(gemini: genai.Client, own: bool) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = {"response_json_schema": schema} if own else {"response_schema": schema}
    answer = gemini.models.generate_content(
        model=MODEL,
        contents="in Oslo",
        config=config(response_mime_type="application/json", **asked),
    )
    assert answer.text and json.loads(answer.text) == {"city": "Oslo"}


@pytest.mark.parametrize("how", ["words", "any", "one"])
def test_a_tool_is_called_if_asked_for_or_forced(gemini: genai.Client, how: str) -> None:
    calling = {
        "words": types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.AUTO),
        "any": types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY),
        "one": types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["get_weather"]
        ),
    }[how]
    asked = config(tools=TOOLS, tool_config=types.ToolConfig(function_calling_config=calling))
    prompt = "call get_weather in Oslo" if how == "words" else "in Oslo"
    whole = gemini.models.generate_content(model=MODEL, contents=prompt, config=asked)
    chunks = list(gemini.models.generate_content_stream(model=MODEL, contents=prompt, config=asked))
    streamed = [call for chunk in chunks for call in chunk.function_calls or ()]
    for calls in (whole.function_calls, streamed):
        assert calls and [(one.name, one.args) for one in calls] == [
            ("get_weather", {"city": "Oslo"})
        ]
    assert whole.candidates and whole.candidates[0].finish_reason is types.FinishReason.STOP


def asked_for_two(gemini: genai.Client, model: str) -> list[types.Part]:
    answer = gemini.models.generate_content(
        model=model, contents="call get_weather and get_time in Oslo", config=config(tools=TOOLS)
    )
    return parts_of(answer)


def replied(
    gemini: genai.Client, model: str, calls: list[types.Part], *names: str
) -> types.GenerateContentResponse:
    results = [
        types.Part.from_function_response(name=name, response={"result": f"{name} says 7"})
        for name in names
    ]
    history: Any = [
        types.UserContent("call get_weather and get_time in Oslo"),
        types.ModelContent(calls),
        types.UserContent(results),
    ]
    return gemini.models.generate_content(model=model, contents=history, config=config(tools=TOOLS))


def test_two_tools_are_called_at_once_and_their_results_are_read(gemini: genai.Client) -> None:
    calls = asked_for_two(gemini, NEW)
    assert [one.function_call.name for one in calls if one.function_call] == [
        "get_weather",
        "get_time",
    ]
    assert calls[0].thought_signature
    answer = replied(gemini, NEW, calls, "get_weather", "get_time")
    assert answer.text and answer.text.endswith("you said: get_weather says 7 get_time says 7")


def test_a_signature_that_is_missing_or_changed_is_refused(gemini: genai.Client) -> None:
    calls = asked_for_two(gemini, NEW)
    calls[0].thought_signature = None
    with pytest.raises(errors.ClientError, match="missing a thought_signature"):
        replied(gemini, NEW, calls, "get_weather", "get_time")
    calls[0].thought_signature = b"something else"
    with pytest.raises(errors.ClientError, match="Corrupted thought signature"):
        replied(gemini, NEW, calls, "get_weather", "get_time")
    older = asked_for_two(gemini, MODEL)
    older[0].thought_signature = None
    assert replied(gemini, MODEL, older, "get_weather", "get_time").text


def test_a_call_without_its_result_is_refused(gemini: genai.Client) -> None:
    calls = asked_for_two(gemini, MODEL)
    with pytest.raises(errors.ClientError, match="number of function response parts is equal"):
        replied(gemini, MODEL, calls, "get_weather")
    with pytest.raises(errors.ClientError, match="matches no function call"):
        replied(gemini, MODEL, calls, "get_weather", "get_rain")


def test_a_blocked_prompt_has_no_candidate_and_a_blocked_answer_no_words(
    gemini: genai.Client,
) -> None:
    prompt = gemini.models.generate_content(model=MODEL, contents="block the prompt")
    assert not prompt.candidates and prompt.prompt_feedback
    assert prompt.prompt_feedback.block_reason is types.BlockedReason.SAFETY
    answer = gemini.models.generate_content(model=MODEL, contents="block the answer")
    assert answer.candidates and answer.candidates[0].finish_reason is types.FinishReason.SAFETY
    assert answer.text is None
    streamed = list(gemini.models.generate_content_stream(model=MODEL, contents="block the prompt"))
    assert [one.prompt_feedback is not None for one in streamed] == [True]


def test_tokens_are_counted_as_they_are_charged(
    gemini: genai.Client, simulator: SimulatorProcess
) -> None:
    charged = usage_of(gemini.models.generate_content(model=MODEL, contents=HELLO))
    counted = gemini.models.count_tokens(model=MODEL, contents=HELLO)
    assert counted.total_tokens == charged.prompt_token_count
    # Google's client cannot say this form, which counts instructions and tools too.
    contents = [{"role": "user", "parts": [{"text": HELLO}]}]
    whole = {
        "model": f"models/{MODEL}",
        "contents": contents,
        "systemInstruction": {"parts": [{"text": "be kind"}]},
    }
    _, more = posted(simulator, f"models/{MODEL}:countTokens", {"generateContentRequest": whole})
    added = 3 + count("system") + count("be kind")
    assert more["totalTokens"] == (counted.total_tokens or 0) + added


def test_embeddings_come_in_order_and_in_the_size_asked_for(gemini: genai.Client) -> None:
    model = "gemini-embedding-001"
    full = gemini.models.embed_content(model=model, contents=["red apple", "blue sea"])
    short = gemini.models.embed_content(
        model=model,
        contents=["red apple", "blue sea"],
        config=types.EmbedContentConfig(output_dimensionality=64),
    )
    assert full.embeddings and short.embeddings and full.usage_metadata
    assert full.usage_metadata.prompt_token_count == count("red apple") + count("blue sea")
    for long, cut in zip(full.embeddings, short.embeddings, strict=True):
        assert long.values and cut.values and len(long.values) == 3072
        assert cut.values == long.values[:64]
        assert sum(v * v for v in long.values) == pytest.approx(1, abs=1e-5)
        assert sum(v * v for v in cut.values) < 0.9


def test_models_are_listed_and_described(gemini: genai.Client) -> None:
    listed = {model.name for model in gemini.models.list()}
    assert {f"models/{MODEL}", "models/gemini-embedding-001"} <= listed
    one = gemini.models.get(model=MODEL)
    assert one.name == f"models/{MODEL}" and "generateContent" in (one.supported_actions or ())
    with pytest.raises(errors.ClientError) as caught:
        gemini.models.get(model="gemini-0")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"contents": []}, "contents is not specified"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ({"contents": [{"parts": []}]}, "must not be empty"),
        ({"contents": [{"parts": [{"thought": True}]}]}, "oneof field 'data'"),
        ({"messages": []}, 'Unknown name "messages"'),
        ({"generationConfig": {"maxTokens": 4}}, 'Unknown name "maxTokens"'),
        ({"generationConfig": {"stopSequences": list("abcdef")}}, "at most 5"),
        ({"generationConfig": {"candidateCount": 9}}, "candidate_count"),
        ({"generationConfig": {"temperature": 3}}, "temperature"),
        ({"generationConfig": {"logprobs": 3}}, "response_logprobs"),
        ({"generationConfig": {"responseJsonSchema": {}}}, "response mime type"),
        ({"tools": [{"functionDeclarations": [{"name": "7up"}]}]}, "Invalid function name"),
        (
            {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            "without function_declarations",
        ),
    ],
)
def test_a_bad_body_is_refused(gemini: genai.Client, body: dict[str, Any], words: str) -> None:
    sent = {"contents": [{"parts": [{"text": "x"}]}], **body}
    with pytest.raises(errors.ClientError) as caught:
        gemini._api_client.request("post", f"models/{MODEL}:generateContent", sent, None)
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    assert words in (caught.value.message or "")


@pytest.mark.parametrize(
    ("order", "kind", "status"),
    [
        ({"status": 429, "type": "RequestsPerMinute", "code": "7s"}, 429, "RESOURCE_EXHAUSTED"),
        ({"status": 403}, 403, "PERMISSION_DENIED"),
        ({"status": 500}, 500, "INTERNAL"),
        ({"status": 503}, 503, "UNAVAILABLE"),
        ({"status": 504}, 504, "DEADLINE_EXCEEDED"),
    ],
    ids=lambda value: str(value) if isinstance(value, str | int) else "",
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_ordered_error_has_googles_shape(
    gemini: genai.Client,
    simulator: SimulatorProcess,
    order: dict[str, Any],
    kind: int,
    status: str,
    stream: bool,
) -> None:
    simulator.fault({"kind": "status", **order}, model="gemini/*")
    with pytest.raises(errors.APIError) as caught:
        if stream:
            list(gemini.models.generate_content_stream(model=MODEL, contents=HELLO))
        else:
            gemini.models.generate_content(model=MODEL, contents=HELLO)
    assert isinstance(caught.value, errors.ServerError if kind >= 500 else errors.ClientError)
    assert (caught.value.code, caught.value.status) == (kind, status)
    assert caught.value.message == "simulated fault"
    if kind == 429:
        quota, wait = caught.value.details["error"]["details"]
        assert quota["violations"][0]["quotaId"] == "RequestsPerMinute"
        assert wait == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}


def test_a_stream_that_breaks_off_raises_the_error(
    gemini: genai.Client, simulator: SimulatorProcess
) -> None:
    simulator.fault({"kind": "error_event", "after": 2, "status": 503}, model="gemini/*")
    texts = []
    with pytest.raises(errors.ServerError) as caught:
        for chunk in gemini.models.generate_content_stream(model=MODEL, contents=HELLO):
            texts.append(chunk.text)
    assert len(texts) == 2
    assert (caught.value.code, caught.value.status) == (503, "UNAVAILABLE")


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [("the-key", 200, ""), ("another", 400, "API key not valid"), ("", 403, "unregistered")],
)
def test_a_wrong_key_is_400_and_none_403(given: str, code: int, words: str) -> None:
    from turnout.simulator.gemini import GeminiWire
    from turnout.simulator.reply import Refusal

    wire = GeminiWire()
    if code == 200:
        wire.authorize({"x-goog-api-key": given}, "the-key")
        return
    with pytest.raises(Refusal) as caught:
        wire.authorize({"x-goog-api-key": given}, "the-key")
    told = json.loads(wire.error(caught.value).body)["error"]
    assert told["code"] == caught.value.status == code and words in told["message"]
    reasons = [one.get("reason") for one in told.get("details", [])]
    assert reasons == (["API_KEY_INVALID"] if code == 400 else [])


def test_media_that_is_not_base64_is_refused(simulator: SimulatorProcess) -> None:
    good = {"inlineData": {"mimeType": "image/png", "data": b64encode(b"x").decode()}}
    path = f"models/{MODEL}:generateContent"
    assert posted(simulator, path, {"contents": [{"parts": [good]}]})
    bad = {"inlineData": {"mimeType": "image/png", "data": "data:image/png;base64,eA=="}}
    with pytest.raises(urllib.error.HTTPError, match="400"):
        posted(simulator, path, {"contents": [{"parts": [bad]}]})
