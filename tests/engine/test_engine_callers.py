"""What a caller's list of models lets through the gateway: on every hop, copy and call beside."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from turnout.adapters.scripted import Scripted, said, spoken
from turnout.engine.provider import Answer, Call, Fault, ProviderError
from turnout.engine.request import Caller, Operation, Reply, Request, Usage

from .benches import benches, refused
from .test_engine_gateway import Bench

POLICY = """
routing_policy:
  - {name: pick, condition: 'meta["how"] == "pick"', route: {cheapest_of: [groq/llama-3-8b,
     openai/gpt-4o-mini]}, fallback: []}
  - {name: copied, condition: 'meta["how"] == "copied"', route: openai/gpt-4o, retries: 0,
     fallback: [], mirror: {to: groq/llama-3-8b, sample: 100%}}
  - {name: house, condition: 'meta["how"] == "house"', route: house/own, retries: 0}
  - {name: asked, condition: model != "auto", route: requested, retries: 0}
models:
  house-big: openai/gpt-4o
  house-any: policy
providers:
  house: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
targets:
  house/own: {price: 0}
fallback_chain:
  - {to: openai/gpt-4o, retries: 0}
  - {to: groq/llama-3-8b, retries: 0}
"""
BIG, LLAMA = "openai/gpt-4o", "groq/llama-3-8b"


def down() -> ProviderError:
    return ProviderError(Fault.SERVER, "down", status=500)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    def make(*providers: Scripted, policy: str = POLICY) -> Bench:
        return Bench(tmp_path, policy, *providers)

    async with benches(make) as opened:
        yield opened


def of(request: Request, *models: str) -> Request:
    return replace(request, caller=Caller(key_id="key_1", models=models))


def skipped(one: Bench) -> dict[str, str | None]:
    return {a.target: a.reason for a in one.records[-1].attempts if a.outcome == "skipped"}


UNLISTED = "this key may not be answered by it"


async def test_a_fallback_outside_the_list_is_not_called_and_the_first_error_is_told(
    bench: Any,
) -> None:
    openai, groq = Scripted("openai", [down()]), Scripted("groq", [])
    one = await bench(openai, groq)
    error = await refused(one.gateway.generate(of(one.request(), BIG)))
    assert (error.status, error.code, error.message) == (502, "bad_gateway", "down")
    assert groq.calls == []
    assert skipped(one) == {LLAMA: UNLISTED}


async def test_a_hop_outside_the_list_is_passed_over_for_one_that_is_in_it(bench: Any) -> None:
    openai, groq = Scripted("openai", []), Scripted("groq", [said("hi"), list(spoken("hi"))])
    one = await bench(openai, groq)
    for stream in (False, True):
        reply = await one.gateway.generate(of(one.request(stream=stream), "groq/*"))
        assert reply.headers["x-turnout-model"] == LLAMA
        if not isinstance(reply, Reply):
            async for _ in reply.chunks:
                pass
        assert skipped(one) == {BIG: UNLISTED}
    assert openai.calls == []


ASKED = [
    # the list, what is asked for, status and code
    (("house-big",), "house-big", 200, None),
    (("house-big",), BIG, 404, "model_not_found"),
    (("house-big",), "gpt-4o", 404, "model_not_found"),
    (("house-big",), "auto", 403, "model_not_allowed"),
    (("house-big",), "house-any", 403, "model_not_allowed"),
    ((BIG,), "house-big", 200, None),
    ((BIG,), BIG, 200, None),
    (("anthropic/*",), BIG, 404, "model_not_found"),
    (("anthropic/*",), "auto", 403, "model_not_allowed"),
    ((), "auto", 403, "model_not_allowed"),
    (("*",), "auto", 200, None),
]


@pytest.mark.parametrize(("models", "asked", "status", "code"), ASKED)
async def test_what_a_key_has_no_access_to_is_refused_before_anything_is_sent(
    bench: Any, models: tuple[str, ...], asked: str, status: int, code: str | None
) -> None:
    openai = Scripted("openai", [said("hi")] if status == 200 else [])
    one = await bench(openai, Scripted("groq", []))
    request = of(one.request(model=asked), *models)
    if status == 200:
        reply = await one.gateway.generate(request)
        assert reply.headers["x-turnout-model"] == BIG
        return
    error = await refused(one.gateway.generate(request))
    assert (error.status, error.type, error.code) == (status, "invalid_request_error", code)
    assert openai.calls == []
    assert not any(attempt.sent for attempt in one.records[-1].attempts)
    if code == "model_not_found":
        told = f"The model `{asked}` does not exist or you do not have access to it."
        assert error.message == told


async def test_no_other_callers_models_are_suggested(bench: Any) -> None:
    one = await bench(Scripted("openai", []), Scripted("groq", []))
    open_to_all = await refused(one.gateway.generate(one.request(model="house-bik")))
    assert "Did you mean `house-big`?" in open_to_all.message
    listed = await refused(one.gateway.generate(of(one.request(model="house-bik"), "groq/*")))
    assert (listed.code, "house-big" in listed.message) == ("model_not_found", False)


async def test_a_choice_falls_on_what_the_list_has(bench: Any) -> None:
    openai, groq = Scripted("openai", [said("hi")]), Scripted("groq", [said("hi")])
    one = await bench(openai, groq)
    body = {"metadata": {"how": "pick"}}
    for models, target in ((("*",), LLAMA), (("openai/*",), "openai/gpt-4o-mini")):
        reply = await one.gateway.generate(of(one.request(**body), *models))
        assert reply.headers["x-turnout-model"] == target
    error = await refused(one.gateway.generate(of(one.request(**body), "anthropic/*")))
    assert (error.status, error.code) == (403, "model_not_allowed")
    assert UNLISTED in error.message


async def test_a_copy_to_what_the_list_lacks_is_dropped(bench: Any) -> None:
    openai, groq = Scripted("openai", [said("hi")]), Scripted("groq", [])
    one = await bench(openai, groq)
    body = {"metadata": {"how": "copied"}}
    request = of(one.request(**body), "openai/*")
    await one.gateway.generate(request)
    await one.gateway._mirrors.drain(5)
    told = await one.gateway.trace(request.id, "default")
    copy = told["mirror"]
    assert (copy["outcome"], copy["reason"]) == ("skipped", UNLISTED)
    assert groq.calls == []


async def test_of_what_may_not_be_answered_no_copy_is_sent(bench: Any) -> None:
    openai, groq = Scripted("openai", []), Scripted("groq", [])
    one = await bench(openai, groq)
    request = of(one.request(metadata={"how": "copied"}), "groq/*")
    assert (await refused(one.gateway.generate(request))).code == "model_not_allowed"
    assert groq.calls == []


async def test_embeddings_and_counts_are_refused_alike(bench: Any) -> None:
    openai = Scripted("openai", [])
    one = await bench(openai, Scripted("groq", []))
    name = "openai/text-embedding-3-small"
    request = one.request(operation=Operation.EMBEDDINGS, model=name, input="hi")
    error = await refused(one.gateway.embeddings(of(request, "openai/gpt-4o")))
    assert (error.status, error.code) == (404, "model_not_found")
    error = await refused(one.gateway.count(of(one.request(model=BIG), "x/*")))
    assert (error.status, error.code) == (404, "model_not_found")
    counted = await one.gateway.count(of(one.request(model="house-big"), "house-big"))
    assert counted.headers["x-turnout-model"] == BIG
    assert openai.calls == []


async def test_a_caller_without_a_list_sees_all_and_with_one_only_its_own(bench: Any) -> None:
    one = await bench(Scripted("openai", []), Scripted("groq", []), Scripted("house", []))

    def names(*models: str) -> set[str]:
        listed = one.gateway.models(of(one.request(), *models))
        for model in listed:
            request = of(one.request(), *models)
            assert one.gateway.model(model["id"], request)["id"] == model["id"]
        return {model["id"] for model in listed}

    everything = {model["id"] for model in one.gateway.models(one.request())}
    assert {"auto", "house-big", "house-any", BIG, LLAMA, "house/own"} <= everything
    assert names("house-big") == {"house-big"}
    assert names(LLAMA) == {"auto", "house-any", LLAMA} | {
        name for name in everything if name in ("llama-3-8b", "llama-3.1-8b-instant")
    }
    assert names("house/own") == {"auto", "house-any", "house/own"}
    assert names() == set()
    assert names("*") == everything
    for hidden in (BIG, "gpt-4o", "no-such-model"):
        with pytest.raises(Exception, match="does not exist or you do not have access to it"):
            one.gateway.model(hidden, of(one.request(), "house-big"))


async def test_an_explanation_says_which_targets_the_list_keeps_out(bench: Any) -> None:
    one = await bench(Scripted("openai", []), Scripted("groq", []))
    told = await one.gateway.explain(of(one.request(), "groq/*"))
    assert told["target"] == LLAMA
    assert told["kept_out"] == [{"target": BIG, "reason": UNLISTED}]
    assert told["limits"] == []
    told = await one.gateway.explain(one.request())
    assert (told["target"], told["kept_out"]) == (BIG, [])


SIMILAR = """
routing_policy:
  - {name: code, condition: 'similar_to("code") > 0.5', route: groq/llama-3-8b, retries: 0}
lists: {code: ["fix my code"]}
embed: {target: house/embed}
providers:
  house: {kind: openai, base_url: "http://127.0.0.1:9/v1"}
targets:
  house/embed: {price: {input: $1/Mtok, output: $0/Mtok}, context_window: 8k}
fallback_chain: [{to: groq/llama-3-8b, retries: 0}]
"""


def vectors(call: Call) -> Answer:
    rows = [{"index": i, "embedding": [1.0]} for i in range(len(call.request.body["input"]))]
    return Answer(orjson.dumps({"data": rows}), Usage(4, 0), "", None, None)


async def test_a_message_is_not_embedded_where_the_list_lacks_it(bench: Any) -> None:
    house = Scripted("house", [])
    one = await bench(house, Scripted("groq", [said("hi")]), policy=SIMILAR)
    reply = await one.gateway.generate(of(one.request(), "groq/*"))
    assert "x-turnout-rule" not in reply.headers
    assert one.records[-1].reasons["similar_to(code)"] == UNLISTED
    assert house.calls == []


async def test_a_target_without_a_price_is_never_called(bench: Any) -> None:
    openai = Scripted("openai", [])
    one = await bench(openai, Scripted("groq", []))
    program = one.gateway.live.program
    bare = {name: replace(target, tariff=None) for name, target in program.targets.items()}
    program.targets.clear()
    program.targets.update(bare)
    error = await refused(one.gateway.generate(one.request()))
    assert (error.status, error.code) == (400, "model_unpriced")
    assert openai.calls == []
    assert set(skipped(one).values()) == {"its price is not known"}
