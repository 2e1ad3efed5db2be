"""What each attribute of the language reads of a live request, and why where there is nothing."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.check import compile_policy
from turnout.dsl.core import REQUESTED, Budget, Program, Slot, Tenant
from turnout.dsl.interpret.traced import trace, value_of
from turnout.dsl.schema import Attribute, Parameter, Type, Value
from turnout.dsl.source import Source, Span
from turnout.dsl.walk import reads
from turnout.dsl.worlds import worlds
from turnout.engine.attributes import ATTRIBUTES, BY_NAME
from turnout.engine.catalog import language_schema
from turnout.engine.decide import Decider, observe_body, recorded
from turnout.engine.embedding import leave_out
from turnout.engine.observed import Observed
from turnout.engine.pulse import DEFAULTS, Pulse
from turnout.engine.readers import BASE_SET, READERS, NotFetched
from turnout.engine.record import PulseTable
from turnout.engine.request import Caller, Operation, Request
from turnout.engine.session import bucket, hashed

BARE = compile_policy(
    Source("test", "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"), language_schema()
)
COMMAS = ", "


def key_of(name: str, argument: str | None, window: str | None = None) -> str:
    parameter = BY_NAME[name].parameter
    if argument is None:
        return name
    if parameter in (Parameter.HEADER, Parameter.META):
        return f"{name}.{argument}"
    if parameter is Parameter.BUDGET:
        return f"budget({argument}).{name.removeprefix('budget.')}"
    return f"{name}({COMMAS.join(filter(None, (argument, window)))})"


def program(*asked: tuple[str, str | None], **more: Any) -> Program:
    slots = {
        key_of(name, argument): Slot(key_of(name, argument), BY_NAME[name], argument)
        for name, argument in asked
    }
    return replace(BARE, slots=slots, **more)


def request(body: dict[str, Any], **more: Any) -> Request:
    known: dict[str, Any] = {
        "id": "req_1",
        "operation": Operation.CHAT,
        "raw": b"",
        "model": "auto",
        "stream": False,
        "caller": Caller(),
        "headers": {},
        "received_us": 1_795_000_000_000_000,
        "started_ns": time.monotonic_ns(),
    }
    return Request(body=body, **(known | more))


def said(text: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def seen(
    name: str,
    argument: str | None = None,
    body: dict[str, Any] | None = None,
    live: dict[str, Value] | None = None,
    requested: str | None = None,
    program_more: dict[str, Any] | None = None,
    **more: Any,
) -> Observed:
    decider = Decider(program((name, argument), **(program_more or {})))
    target = None if requested is None else language_schema().catalog.find(requested)
    table = PulseTable("p", 0, live or {}, {})
    return decider.observe(request(body or {}, **more), target, table)


def test_every_attribute_has_a_reader() -> None:
    for attribute in ATTRIBUTES:
        argument = None if attribute.parameter is Parameter.NONE else "openai/gpt-4"
        snapshot = seen(attribute.name, argument, said("hello"))
        key = key_of(attribute.name, argument)
        if attribute.fetched:
            with pytest.raises(NotFetched):
                snapshot[key]
            continue
        value = snapshot[key]
        assert value is not None or snapshot.reasons[key], attribute.name
        if attribute.always_known:
            assert value is not None, attribute.name


def test_what_holds_where_a_table_says_nothing_is_of_its_attributes_type() -> None:
    for name, value in DEFAULTS.items():
        assert isinstance(value, {Type.NUMBER: int, Type.ENUM: str}.get(BY_NAME[name].type, bool))


# --- the caller ----------------------------------------------------------------------------------

TENANTS = {"tenants": {"acme": Tenant("acme", tier="pro", region="eu"), "poor": Tenant("poor")}}
CALLERS: list[tuple[str, Caller, Value | None]] = [
    ("tier", Caller("acme"), "pro"),
    ("tier", Caller("acme", tier="free"), "free"),
    ("tier", Caller("poor"), "default"),
    ("tier", Caller("nobody"), "default"),
    ("tenant.region", Caller("acme"), "eu"),
    ("tenant.region", Caller("poor"), None),
    ("tenant.region", Caller("nobody"), None),
    ("key", Caller(key_id="key_1"), "key_1"),
    ("key", Caller(), None),
    ("session", Caller(user="eve"), hashed("req_1")),
]


@pytest.mark.parametrize(("name", "caller", "value"), CALLERS)
def test_what_is_known_of_a_caller(name: str, caller: Caller, value: Value | None) -> None:
    snapshot = seen(name, caller=caller, program_more=TENANTS)
    assert snapshot[name] == value
    assert (value is None) == (name in snapshot.reasons)


TAGS: list[tuple[dict[str, str], dict[str, Any], str | None]] = [
    ({"x-turnout-tags": "project=blue, team=x"}, {}, "blue"),
    ({"x-turnout-tags": " Project = blue=green ,"}, {}, "blue=green"),
    ({"x-turnout-tags": "project=blue,project=red"}, {}, "blue"),
    ({"x-turnout-tags": "project"}, {"metadata": {"PROJECT": "red"}}, "red"),
    ({"x-turnout-tags": "project=blue"}, {"metadata": {"project": "red"}}, "blue"),
    ({}, {"metadata": {"project": 7}}, None),
    ({}, {"metadata": "junk"}, None),
    ({}, {}, None),
]


@pytest.mark.parametrize(("headers", "body", "value"), TAGS)
def test_tags_come_from_the_header_then_from_the_metadata(
    headers: dict[str, str], body: dict[str, Any], value: str | None
) -> None:
    snapshot = seen("meta", "project", body, headers=headers)
    assert snapshot["meta.project"] == value
    assert (value is None) == ("meta.project" in snapshot.reasons)


def test_the_provider_is_that_of_what_was_asked_for() -> None:
    assert seen("provider", requested="openai/gpt-4")["provider"] == "openai"
    snapshot = seen("provider")
    assert snapshot["provider"] is None
    assert snapshot.reasons["provider"] == "the client left the choice to the policy"


def test_what_is_known_only_after_the_answer_is_unknown_with_the_reason() -> None:
    snapshot = seen("cached_tokens")
    assert snapshot["cached_tokens"] is None
    assert snapshot.reasons["cached_tokens"] == "it is known only after the answer"


BUCKETS = [
    ("bucket", hashed("s")),
    ("bucket.user", hashed("eve")),
    ("bucket.tenant", hashed("acme")),
    ("bucket.request", hashed("req_1")),
]


@pytest.mark.parametrize(("name", "kept"), BUCKETS)
def test_a_bucket_is_kept_by_what_its_name_says(name: str, kept: str) -> None:
    snapshot = seen(
        name, "canary", caller=Caller("acme", user="eve"), headers={"x-turnout-session": "s"}
    )
    assert snapshot[f"{name}(canary)"] == bucket("canary", kept)


# --- the text ------------------------------------------------------------------------------------

TEXTS: list[tuple[str, dict[str, Any], bool | None]] = [
    (r"^fix\b", said("fix this"), True),
    (r"^fix\b", said("please fix this"), False),
    (r"(?i)FIX", said([{"type": "text", "text": "a"}, {"type": "text", "text": "fix"}]), True),
    (r"fix", said([{"type": "image_url", "image_url": {"url": "fix"}}]), None),
    (r"fix", {"messages": [{"role": "system", "content": "fix"}]}, None),
    (r"fix", {"messages": [{"role": "user", "content": "fix"}, {"role": "user"}]}, None),
    (r"fix", {"messages": "junk"}, None),
    (r"fix", said("\ud800 fix"), True),
    (r"größe", said("die größe"), True),
    (r"a\nb", {"input": ["a", "b"]}, True),
]


@pytest.mark.parametrize(("pattern", "body", "value"), TEXTS)
def test_a_pattern_is_found_anywhere_in_the_last_user_message(
    pattern: str, body: dict[str, Any], value: bool | None
) -> None:
    snapshot = seen("matches", pattern, body)
    assert snapshot[f"matches({pattern})"] is value
    assert (value is None) == (f"matches({pattern})" in snapshot.reasons)


WORDS = {"lists": {"words": ("refund", "Straße", "a.b", ""), "none": ()}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("A REFUND please", True), ("in der STRAßE", True), ("axb", False), ("A.B", True), ("", None)],
)
def test_a_list_is_looked_for_as_plain_text_in_any_case(text: str, value: bool | None) -> None:
    assert seen("contains_any", "words", said(text), program_more=WORDS)[
        "contains_any(words)"
    ] is value  # fmt: skip


def test_of_an_empty_list_nothing_is_found() -> None:
    snapshot = seen("contains_any", "none", said("refund"), program_more=WORDS)
    assert snapshot["contains_any(none)"] is False


def test_a_list_of_thousands_is_searched_whole() -> None:
    words = tuple(f"word number {number}" for number in range(5_000))
    more = {"lists": {"words": words}}
    for text, value in (("Word number 4999", True), ("number 5", False)):
        snapshot = seen("contains_any", "words", said(text), program_more=more)
        assert snapshot["contains_any(words)"] is value


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=8))
def test_no_shape_of_content_is_an_error(content: Any) -> None:
    body = said(content)
    for name, argument in (
        ("matches", "x"),
        ("contains_any", "words"),
        ("complexity", None),
        ("complexity.score", None),
        ("task", None),
        ("language", None),
    ):
        snapshot = seen(name, argument, body, program_more=WORDS)
        key = key_of(name, argument)
        assert snapshot[key] is not None or snapshot.reasons[key]


# --- live values ---------------------------------------------------------------------------------


def test_a_windowed_value_of_what_was_requested_is_that_targets() -> None:
    key = "p95(requested, 5m)"
    asked = replace(BARE, slots={key: Slot(key, BY_NAME["p95"], REQUESTED, 300_000_000)})
    table = PulseTable("p", 0, {"p95(openai/gpt-4)": 1, "p95(openai/gpt-4, 5m)": 2}, {})
    target = language_schema().catalog.find("openai/gpt-4")
    assert Decider(asked).observe(request({}), target, table)[key] == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("healthy", True), ("breaker", "closed"), ("rate_limited", False), ("inflight", 0)],
)
def test_a_target_without_traffic_is_well(name: str, value: Value) -> None:
    key = f"{name}(openai/gpt-4)"
    assert seen(name, "openai/gpt-4")[key] == value
    assert seen(name, "openai/gpt-4", live={key: 7})[key] == 7
    requested = seen(name, REQUESTED, requested="openai/gpt-4")
    assert requested[f"{name}(requested)"] == value


def test_a_latched_truth_and_a_missing_credential_come_from_the_table() -> None:
    assert seen("held", "slow:0")["held(slow:0)"] is False
    assert seen("held", "slow:0", live={"held(slow:0)": True})["held(slow:0)"] is True
    assert seen("usable", "a/b")["usable(a/b)"] is True
    assert seen("usable", "a/b", live={"usable(a/b)": False})["usable(a/b)"] is False


def test_a_signal_that_was_left_out_is_unknown_and_says_so() -> None:
    snapshot = seen("similar_to", "words", said("hi"), program_more=WORDS)
    leave_out(snapshot, snapshot.program)
    assert snapshot["similar_to(words)"] is None
    assert snapshot.reasons["similar_to(words)"] == "not fetched"


# --- what is kept --------------------------------------------------------------------------------


def test_the_base_set_has_readers_and_is_recorded_whatever_was_read() -> None:
    assert set(BASE_SET) <= READERS.keys()
    snapshot = seen("tokens", None, said("hi"), caller=Caller(key_id="key_1"))
    recorded(snapshot)
    assert {*BASE_SET, "tokens"} <= snapshot.keys()
    assert (snapshot["key"], snapshot["session"]) == ("key_1", hashed("req_1"))


def test_no_text_of_a_request_is_recorded() -> None:
    secret = "my secret refund 4711"
    asked = program(
        ("matches", "4711"),
        ("contains_any", "words"),
        ("complexity", None),
        ("task", None),
        ("language", None),
        ("meta", "project"),
        ("session", None),
        ("bucket", "s"),
        **WORDS,
    )
    body = {**said(secret), "metadata": {"project": secret}, "user": secret}
    snapshot = Decider(asked).observe(request(body), None, PulseTable("p", 0, {}, {}))
    for key in asked.slots:
        snapshot[key]
    recorded(snapshot)
    assert secret not in repr((dict(snapshot), snapshot.reasons))


def test_a_body_alone_gives_every_value_that_needs_no_gateway() -> None:
    asked = program(
        ("complexity", None),
        ("task", None),
        ("language", None),
        ("matches", "proof"),
        ("similar_to", "words"),
        ("bucket", "s"),
        ("healthy", "openai/gpt-4"),
        ("p95", "openai/gpt-4"),
        ("tenant.region", None),
        **WORDS,
    )
    body = said("Please write the proof of the theorem")
    snapshot = observe_body(asked, body, 1_795_000_000_000_000)
    assert {key for key, value in snapshot.items() if value is None} >= {
        "similar_to(words)",
        "p95(openai/gpt-4)",
        "tenant.region",
    }
    assert snapshot["matches(proof)"] is True
    assert snapshot["healthy(openai/gpt-4)"] is True
    assert snapshot["language"] == "en"
    assert snapshot["bucket(s)"] == bucket("s", hashed(""))


# --- ranges and domains --------------------------------------------------------------------------
# Proofs take for granted that no request has a value outside of these.

CLOCKS = (1, 951_868_799_999_999, 1_795_000_000_000_000, 4_102_444_799_999_999)
CHATS: tuple[dict[str, Any], ...] = (
    said(""),
    said("Prove step by step: x^n = 1 \ud800 " * 500),
    {"messages": []},
    {},
)
EXTREME = (-(10**400), -(2**63), -1, -0.5, -0.0, 0, 1e-9, 2.5, 3, 129, 2**63 - 1, 2**63, 1e308)
ANYTHING = (*EXTREME, None, True, "3", [3], {"x": 3})


def with_fields(*fields: str) -> list[dict[str, Any]]:
    """Requests of both kinds in which these fields are anything that JSON can say."""
    return [
        {"body": {**said("hi"), field: value}, "operation": operation}
        for field in fields
        for value in ANYTHING
        for operation in Operation
    ]


def at_any_time() -> list[dict[str, Any]]:
    return [{"received_us": at} for at in CLOCKS]


def of_any_text() -> list[dict[str, Any]]:
    return [{"body": body} for body in CHATS]


def of_any_caller() -> list[dict[str, Any]]:
    return [{"caller": Caller(tenant, user=user)} for tenant in ("", "x") for user in (None, "y")]


def measured() -> list[dict[str, Any]]:
    """Requests at a target of which everything was recorded that can be."""
    tables = []
    for took_us, output, failed in ((0, 0, False), (2**40, 2**40, False), (7, None, True)):
        pulse = Pulse(min_samples=1)
        for _ in range(3):
            pulse.record("openai/gpt-4", took_us, took_us, output, failed)
            pulse.entered("openai/gpt-4")
        tables.append(pulse.tick({"openai/gpt-4": BARE.targets["openai/gpt-4"]}))
    return [{"live": dict(table.values)} for table in (*tables, PulseTable("p", 0, {}, {}))]


def budgeted() -> list[dict[str, Any]]:
    budget = Budget("openai/gpt-4", "tenant", None, 5, "day", (), Span(Source("x", ""), 0, 0))
    return [{"program_more": {"budgets": (budget,)}, **clock} for clock in at_any_time()]


REACHED: dict[str, Callable[[], list[dict[str, Any]]]] = {
    **dict.fromkeys(
        ("request_type", "tokens", "prompt_tokens", "messages"),
        lambda: [*of_any_text(), *with_fields("messages", "input", "model")],
    ),
    "max_tokens": lambda: with_fields("max_tokens", "max_completion_tokens", "max_output_tokens"),
    "temperature": lambda: with_fields("temperature"),
    "n": lambda: with_fields("n"),
    **dict.fromkeys(("time", "weekday", "date"), at_any_time),
    **dict.fromkeys(("complexity", "complexity.score", "task", "language"), of_any_text),
    "bucket": of_any_text,
    **dict.fromkeys(("bucket.user", "bucket.tenant", "bucket.request"), of_any_caller),
    **dict.fromkeys(("budget.used", "budget.limit", "budget.resets_in"), budgeted),
    **dict.fromkeys(("breaker", "error_rate", "inflight"), measured),
    **dict.fromkeys(("p50", "p90", "p95", "p99", "ttft.p50", "ttft.p95"), measured),
    "expected_output": lambda: [
        {**here, **way} for here in measured() for way in with_fields("max_tokens")
    ],
    "cached_tokens": of_any_text,
}
FETCHED = {"similar_to"}  # within its range by `vectors`, whose tests say so


def limited() -> list[Attribute]:
    """The attributes of the table that say which values there are."""
    return [a for a in ATTRIBUTES if a.domain or a.minimum is not None or a.maximum is not None]


def test_every_attribute_with_a_range_is_reached_for() -> None:
    assert {attribute.name for attribute in limited()} - FETCHED <= REACHED.keys()
    assert {"tokens", "temperature", "n", "complexity"} <= {one.name for one in limited()}


@pytest.mark.parametrize("name", REACHED)
def test_no_request_has_a_value_outside_of_the_range_of_its_attribute(name: str) -> None:
    attribute = BY_NAME[name]
    argument = None if attribute.parameter is Parameter.NONE else "openai/gpt-4"
    key = key_of(name, argument)
    known = set()
    for way in REACHED[name]():
        snapshot = seen(name, argument, **way)
        value = snapshot[key]
        known.add(value is not None)
        if value is None:
            assert snapshot.reasons[key]
            assert not attribute.always_known
        elif attribute.domain is not None:
            assert value in attribute.domain
        elif isinstance(value, int):
            low = -(2**63) if attribute.minimum is None else attribute.minimum
            high = 2**63 - 1 if attribute.maximum is None else attribute.maximum
            assert low <= value <= high, way
    assert known & {True, name != "cached_tokens" and name != "budget.used"}


def test_a_temperature_that_nobody_takes_is_unknown_with_the_reason() -> None:
    snapshot = seen("temperature", body={"temperature": 3})
    assert snapshot["temperature"] is None
    assert snapshot.reasons["temperature"] == (
        "the request names a temperature that is not within 0 to 2"
    )


def test_what_proofs_take_for_granted_of_a_class_holds_of_every_request() -> None:
    asked = program(("complexity", None), ("complexity.score", None))
    taken = list(worlds(asked))
    assert any("complexity.score" in reads([term]) for term in taken)
    classes = set()
    for body in (*CHATS, said("hello"), *(said("Prove that " + "x^n = 1 " * n) for n in range(40))):
        snapshot = Decider(asked).observe(request(body), None, PulseTable("p", 0, {}, {}))
        assert [value_of(term, snapshot) for term in taken] == [True] * len(taken)
        classes.add(snapshot["complexity"])
    assert classes == {None, "low", "medium", "high"}


LISTED = compile_policy(
    Source(
        "test",
        """
attributes: {tier: [pro], tenant: [acme], tenant.region: [eu], team: [blue], user: [eve], key: [k]}
tenants: {acme: {tier: pro, region: eu}, default: {region: eu}}
routing_policy:
  - {name: paid, condition: tier == "pro" and tenant == "acme", route: openai/gpt-4}
  - {name: ours, condition: team == "blue" and user == "eve", route: openai/gpt-4}
  - {name: theirs, condition: tenant.region == "eu" and key == "k", route: openai/gpt-4}
  - {name: default, route: openai/gpt-4}
""",
    ),
    language_schema(),
)
STRANGE: list[tuple[str, Caller, Value | None, str | None]] = [
    ("tier", Caller("acme"), "pro", None),
    ("tier", Caller("acme", "gold"), "default", "gold"),
    ("tenant", Caller("acme"), "acme", None),
    ("tenant", Caller("umbrella"), "default", "umbrella"),
    ("tenant.region", Caller("umbrella"), "eu", None),  # it counts as `default`
    ("team", Caller(team="blue"), "blue", None),
    ("team", Caller(team="red"), None, "red"),
    ("user", Caller(user="mal\x1bory"), None, "mal\\u001bory"),
    ("key", Caller(key_id="key_9"), None, "key_9"),
]


@pytest.mark.parametrize(("name", "caller", "value", "given"), STRANGE)
def test_of_a_declared_domain_only_its_values_are_in_a_snapshot(
    name: str, caller: Caller, value: Value | None, given: str | None
) -> None:
    decider = Decider(LISTED)
    snapshot = decider.observe(request({}, caller=caller), None, PulseTable("p", 0, {}, {}))
    assert snapshot[name] == value
    told = f'`"{given}"` is given, which `attributes:` does not list'
    assert snapshot.reasons.get(name) == (None if given is None else told)
    bare = decider.observe(request({}, caller=caller), None, PulseTable("p", 0, {}, {}))
    recorded(bare)
    assert bare.get(name, value) == value


def test_a_trace_says_what_was_given_where_another_value_stands_for_it() -> None:
    asked = request({}, caller=Caller("umbrella"))
    snapshot = Decider(LISTED).observe(asked, None, PulseTable("p", 0, {}, {}))
    expression = trace(LISTED, snapshot, "paid").to_json()[0]["expression"]
    assert isinstance(expression, dict)
    assert (expression["children"][1]["value"], expression["children"][1]["children"]) == (
        "false",
        [
            {
                "text": "tenant",
                "value": '"default"',
                "reason": '`"umbrella"` is given, which `attributes:` does not list',
                "children": [],
            }
        ],
    )


# --- as a policy writes them ---------------------------------------------------------------------

WRITTEN = """
attributes: {tenant.region: [eu, us]}
targets:
  openai/gpt-4: {expected: {p95: 4s, ttft: 300ms}}
lists: {code_review: ["review this diff"], words: [refund], vips: [acme]}
embed: {target: openai/text-embedding-3-small, timeout: 300ms}
tenants: {poor: {tier: free, region: us}, rich: {region: eu}}
budgets: [{name: team, scope: team, limit: $20/day}]
routing_policy:
  - {name: budget, condition: 'budget("team").limit > $5 and budget("team").resets_in > 1s',
     route: groq/llama-3-8b}
  - {name: words, condition: 'contains_any("words") or matches("(?i)^fix")', route: groq/llama-3-8b}
  - {name: meta, condition: 'meta["project"] == "blue"', route: groq/llama-3-8b}
  - {name: region, condition: 'tenant.region == "eu" or tenant in vips', route: groq/llama-3-8b}
  - {name: tier, condition: 'tier == "free"', route: groq/llama-3-8b}
  - {name: hard, condition: 'complexity == "high"', route: openai/gpt-4}
  - {name: kind, condition: 'task == "translation" or language == "de"', route: openai/gpt-4}
  - {name: slow, condition: 'p95("openai/gpt-4", 5m) > 8s', route: groq/llama-3-8b, hold: 2m}
  - {name: sick, condition: 'not healthy("openai/gpt-4")', route: groq/llama-3-8b}
  - {name: broken, condition: 'breaker("openai/gpt-4") == "open"', route: groq/llama-3-8b}
  - {name: busy, condition: 'inflight("openai/gpt-4") > 5', route: groq/llama-3-8b}
  - {name: limited, condition: 'rate_limited("openai/gpt-4")', route: groq/llama-3-8b}
  - {name: mine, condition: 'key == "key_1"', route: groq/llama-3-8b}
  - {name: asked, condition: 'provider == "openai"', route: groq/llama-3-8b}
  - {name: similar, condition: 'similar_to("code_review") >= 0.82', route: openai/gpt-4}
  - {name: default, route: openai/gpt-4}
"""
SLOW = "p95(openai/gpt-4, 5m)"
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("budget", {"caller": Caller(team="search")}),
    ("words", {"text": "a Refund please"}),
    ("words", {"text": "FIX it"}),
    ("meta", {"headers": {"x-turnout-tags": "project=blue"}}),
    ("region", {"caller": Caller("rich")}),
    ("region", {"caller": Caller("acme")}),
    ("tier", {"caller": Caller("poor")}),
    ("hard", {"text": "Prove step by step that every finite subgroup is cyclic: x^n = 1, n > 4."}),
    ("kind", {"text": "Translate: hello"}),
    ("kind", {"text": "Wie geht es dir?"}),
    ("slow", {"live": {SLOW: 9_000_000}}),
    ("slow", {"live": {SLOW: 1, "held(slow:0)": True}}),
    ("sick", {"live": {"healthy(openai/gpt-4)": False}}),
    ("broken", {"live": {"breaker(openai/gpt-4)": "open"}}),
    ("busy", {"live": {"inflight(openai/gpt-4)": 6}}),
    ("limited", {"live": {"rate_limited(openai/gpt-4)": True}}),
    ("mine", {"caller": Caller(key_id="key_1")}),
    ("asked", {"requested": "openai/gpt-4"}),
    ("similar", {"scores": {"similar_to(code_review)": 8_200}}),
    ("default", {"scores": {"similar_to(code_review)": None}}),
]


@pytest.fixture(scope="module")
def decider() -> Decider:
    return Decider(compile_policy(Source("test", WRITTEN), language_schema()))


@pytest.mark.parametrize(("rule", "way"), WAYS, ids=lambda value: str(value)[:60])
def test_a_rule_about_it_fires_for_the_request_it_is_about(
    decider: Decider, rule: str, way: dict[str, Any]
) -> None:
    requested = way.get("requested")
    target = None if requested is None else language_schema().catalog.find(requested)
    asked = request(
        said(way.get("text", "hello there")),
        caller=way.get("caller", Caller()),
        headers=way.get("headers", {}),
    )
    snapshot = decider.observe(asked, target, PulseTable("p", 0, way.get("live", {}), {}))
    if "scores" not in way:
        leave_out(snapshot, decider.program)
    snapshot.update(way.get("scores", {}))
    clause = decider.decide(snapshot).clause
    assert clause is not None
    assert clause.name == rule


def test_a_signal_that_costs_a_call_is_asked_for_only_where_nothing_else_decides(
    decider: Decider,
) -> None:
    table = PulseTable("p", 0, {}, {})
    early = decider.observe(request(said("a refund")), None, table)
    decider.decide(early)
    assert "similar_to(code_review)" not in early
    with pytest.raises(NotFetched) as raised:
        decider.decide(decider.observe(request(said("hello there")), None, table))
    assert raised.value.key == "similar_to(code_review)"
