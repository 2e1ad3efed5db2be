"""The simulated Bedrock speaks to AWS's own client, whose model of the service is strict."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from turnout.simulator.bedrock_signature import ACCESS_KEY_ID, SECRET
from turnout.simulator.process import SimulatorProcess
from turnout.simulator.tokens import count

MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
HELLO = [{"role": "user", "content": [{"text": "hello brave new world"}]}]
WEATHER = {
    "toolSpec": {
        "name": "get_weather",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            }
        },
    }
}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


def boto(simulator: SimulatorProcess, **changed: Any) -> Any:
    given: dict[str, Any] = {
        "region_name": "us-east-1",
        "endpoint_url": simulator.base_url("bedrock"),
        "aws_access_key_id": ACCESS_KEY_ID,
        "aws_secret_access_key": SECRET,
        "config": Config(retries={"total_max_attempts": 1}, proxies={}),
    }
    return boto3.client("bedrock-runtime", **(given | changed))


@pytest.fixture
def bedrock(simulator: SimulatorProcess) -> Iterator[Any]:
    client = boto(simulator)
    yield client
    client.close()


def streamed(bedrock: Any, **request: Any) -> list[dict[str, Any]]:
    return list(bedrock.converse_stream(modelId=MODEL, **request)["stream"])


def test_an_answer_has_the_words_of_the_prompt(bedrock: Any) -> None:
    answer = bedrock.converse(modelId=MODEL, messages=HELLO)
    text = answer["output"]["message"]["content"][0]["text"]
    assert text == f"simulated answer by {MODEL}: you said: hello brave new world"
    assert answer["stopReason"] == "end_turn"
    usage = answer["usage"]
    assert usage["outputTokens"] == count(text)
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]


@pytest.mark.parametrize(
    "model",
    [
        "amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-4-1:0",
    ],
)
def test_ids_and_arns_are_signed_as_the_client_encodes_them(bedrock: Any, model: str) -> None:
    answer = bedrock.converse(modelId=model, messages=HELLO)
    assert model in answer["output"]["message"]["content"][0]["text"]


def test_a_stream_has_all_events_in_order_and_adds_up(bedrock: Any) -> None:
    events = streamed(bedrock, messages=HELLO)
    names = [name for event in events for name in event]
    deltas = names.count("contentBlockDelta")
    assert deltas > 5
    assert names == [
        "messageStart",
        *["contentBlockDelta"] * deltas,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    whole = bedrock.converse(modelId=MODEL, messages=HELLO)
    text = "".join(e["contentBlockDelta"]["delta"]["text"] for e in events[1 : deltas + 1])
    assert text == whole["output"]["message"]["content"][0]["text"]
    assert events[-1]["metadata"]["usage"] == whole["usage"]


@pytest.mark.parametrize("choice", [None, {"any": {}}, {"tool": {"name": "get_weather"}}])
def test_a_tool_is_used_if_asked_for_or_forced(bedrock: Any, choice: Any) -> None:
    prompt = "call get_weather in Oslo" if choice is None else "in Oslo"
    config = {"tools": [WEATHER]} | ({} if choice is None else {"toolChoice": choice})
    request = {"messages": [{"role": "user", "content": [{"text": prompt}]}], "toolConfig": config}
    whole = bedrock.converse(modelId=MODEL, **request)
    use = whole["output"]["message"]["content"][0]["toolUse"]
    assert (use["name"], use["input"], whole["stopReason"]) == (
        "get_weather",
        {"city": "Oslo"},
        "tool_use",
    )
    events = streamed(bedrock, **request)
    assert events[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "get_weather"
    deltas = [e["contentBlockDelta"]["delta"] for e in events if "contentBlockDelta" in e]
    assert json.loads("".join(d["toolUse"]["input"] for d in deltas)) == {"city": "Oslo"}


def test_thinking_comes_with_a_signature_that_is_checked_when_it_returns(bedrock: Any) -> None:
    prompt = [{"role": "user", "content": [{"text": "call get_weather in Oslo"}]}]
    request: dict[str, Any] = {
        "toolConfig": {"tools": [WEATHER]},
        "additionalModelRequestFields": THINKING,
    }
    message = bedrock.converse(modelId=MODEL, messages=prompt, **request)["output"]["message"]
    thought, use = message["content"]
    assert thought["reasoningContent"]["reasoningText"]["text"].startswith("thinking about")
    result = {"toolUseId": use["toolUse"]["toolUseId"], "content": [{"text": "sunny"}]}
    answer = {"role": "user", "content": [{"toolResult": result}]}
    again = bedrock.converse(modelId=MODEL, messages=[*prompt, message, answer], **request)
    assert again["stopReason"] == "end_turn"
    with pytest.raises(ClientError, match="Expected `thinking`"):
        lost = {"role": "assistant", "content": [use]}
        bedrock.converse(modelId=MODEL, messages=[*prompt, lost, answer], **request)
    thought["reasoningContent"]["reasoningText"]["signature"] = "forged"
    with pytest.raises(ClientError, match="Invalid `signature`"):
        bedrock.converse(modelId=MODEL, messages=[*prompt, message, answer], **request)


def test_streamed_thinking_is_the_same_as_whole(bedrock: Any) -> None:
    request: dict[str, Any] = {"messages": HELLO, "additionalModelRequestFields": THINKING}
    whole = bedrock.converse(modelId=MODEL, **request)["output"]["message"]["content"]
    told = {"text": "", "signature": ""}
    for event in streamed(bedrock, **request):
        delta = event.get("contentBlockDelta", {}).get("delta", {})
        for name, value in delta.get("reasoningContent", {}).items():
            told[name] += value
    assert told == whole[0]["reasoningContent"]["reasoningText"]


def test_a_schema_is_answered_in_its_shape(bedrock: Any) -> None:
    weather = WEATHER["toolSpec"]["inputSchema"]["json"]  # type: ignore[index]

    def asked(schema: dict[str, Any]) -> Any:
        described = {"jsonSchema": {"schema": json.dumps(schema)}}
        text_format = {"type": "json_schema", "structure": described}
        given = {"textFormat": text_format}
        return bedrock.converse(modelId=MODEL, messages=HELLO, outputConfig=given)

    with pytest.raises(ClientError, match="additionalProperties"):
        asked(weather)
    answer = asked({**weather, "additionalProperties": False})
    assert json.loads(answer["output"]["message"]["content"][0]["text"]) == {"city": "world"}


def test_a_prefix_is_written_to_the_cache_once_and_read_from_then_on(bedrock: Any) -> None:
    system = [{"text": "once upon a time " * 50}, {"cachePoint": {"type": "default"}}]
    first, second = (
        bedrock.converse(modelId=MODEL, messages=HELLO, system=system)["usage"] for _ in range(2)
    )
    assert first["cacheReadInputTokens"] == 0 < first["cacheWriteInputTokens"]
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"]
    assert second["cacheWriteInputTokens"] == 0
    assert first["inputTokens"] == second["inputTokens"]
    for usage in (first, second):
        parts = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        assert usage["totalTokens"] == sum(usage[part] for part in parts)


def test_a_prompt_is_counted_as_it_is_billed(bedrock: Any) -> None:
    counted = bedrock.count_tokens(
        modelId="anthropic.claude-sonnet-4-20250514-v1:0",
        input={"converse": {"messages": HELLO}},
    )
    usage = bedrock.converse(modelId=MODEL, messages=HELLO)["usage"]
    assert counted["inputTokens"] == usage["inputTokens"]
    with pytest.raises(ClientError, match="doesn't support counting"):
        bedrock.count_tokens(
            modelId="amazon.nova-lite-v1:0", input={"converse": {"messages": HELLO}}
        )


def test_embeddings_have_the_makers_shapes(bedrock: Any) -> None:
    def invoke(model: str, **body: Any) -> Any:
        raw = bedrock.invoke_model(modelId=model, body=json.dumps(body))["body"].read()
        return json.loads(raw)

    titan = invoke("amazon.titan-embed-text-v2:0", inputText="hello", dimensions=256)
    assert (len(titan["embedding"]), titan["inputTextTokenCount"]) == (256, count("hello"))
    cohere = invoke("cohere.embed-english-v3", texts=["a", "b"], input_type="search_document")
    assert [len(vector) for vector in cohere["embeddings"]["float"]] == [1024, 1024]
    with pytest.raises(ClientError, match="extraneous key"):
        invoke("amazon.titan-embed-text-v1", inputText="hello", dimensions=256)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"messages": []}, "start with a user message"),
        ({"messages": [*HELLO, *HELLO]}, "alternate"),
        ({"messages": [{"role": "user", "content": []}]}, "is empty"),
        ({"messages": [{"role": "user", "content": [{"text": " "}]}]}, "is blank"),
        ({"inferenceConfig": {"temperature": 1.5}}, "inferenceConfig"),
        ({"additionalModelRequestFields": {"seed": 1}}, "Extra inputs"),
        (
            {
                "messages": [
                    *HELLO,
                    {
                        "role": "assistant",
                        "content": [{"toolUse": {"toolUseId": "a", "name": "b", "input": {}}}],
                    },
                    *HELLO,
                ]
            },
            "toolConfig field must be defined",
        ),
    ],
)
def test_a_bad_body_is_refused(bedrock: Any, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        bedrock.converse(modelId=MODEL, **({"messages": HELLO} | changed))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (408, "ModelTimeoutException"),
        (424, "ModelErrorException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_a_status_has_the_name_that_the_client_raises(
    bedrock: Any, simulator: SimulatorProcess, status: int, name: str
) -> None:
    simulator.fault({"kind": "status", "status": status}, model="bedrock/*")
    with pytest.raises(getattr(bedrock.exceptions, name)) as caught:
        bedrock.converse(modelId=MODEL, messages=HELLO)
    assert caught.value.response["Error"]["Message"] == "simulated fault"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "validationException"),
        (424, "modelStreamErrorException"),
        (429, "throttlingException"),
        (500, "internalServerException"),
        (503, "serviceUnavailableException"),
    ],
)
def test_a_stream_breaks_off_with_an_exception(
    bedrock: Any, simulator: SimulatorProcess, status: int, name: str
) -> None:
    simulator.fault({"kind": "error_event", "after": 3, "status": status}, model="bedrock/*")
    seen = []
    with pytest.raises(EventStreamError) as caught:
        seen.extend(bedrock.converse_stream(modelId=MODEL, messages=HELLO)["stream"])
    assert caught.value.response["Error"]["Code"] == name


def test_who_signs_with_another_key_or_secret_is_refused(simulator: SimulatorProcess) -> None:
    for changed, name in (
        ({"aws_access_key_id": "AKIAANOTHER"}, "UnrecognizedClientException"),
        ({"aws_secret_access_key": "another"}, "InvalidSignatureException"),
    ):
        with pytest.raises(ClientError) as caught:
            boto(simulator, **changed).converse(modelId=MODEL, messages=HELLO)
        assert caught.value.response["Error"]["Code"] == name


def test_a_session_token_is_part_of_the_signature(simulator: SimulatorProcess) -> None:
    client = boto(simulator, aws_session_token="a/session+token==")
    assert client.converse(modelId=MODEL, messages=HELLO)["stopReason"] == "end_turn"
    assert "a/session+token==" not in str(simulator.requests())


def test_a_key_of_bedrock_is_taken_as_bearer(simulator: SimulatorProcess) -> None:
    # Not by the client: it sends such a key over TLS only.
    address = f"{simulator.base_url('bedrock')}/model/{MODEL}/converse"
    headers = {"authorization": "Bearer a-bedrock-key"}
    answer = httpx.post(address, json={"messages": HELLO}, headers=headers)
    assert answer.json()["stopReason"] == "end_turn"
    assert "a-bedrock-key" not in str(simulator.requests(1))


def test_a_request_without_a_signature_or_with_half_of_one_is_refused(
    simulator: SimulatorProcess,
) -> None:
    address = f"{simulator.base_url('bedrock')}/model/{MODEL}/converse"
    bare = httpx.post(address, json={"messages": HELLO})
    assert bare.status_code == 403
    assert bare.headers["x-amzn-errortype"].startswith("MissingAuthenticationTokenException:")
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=x"}
    assert httpx.post(address, json={}, headers=headers).status_code == 400
