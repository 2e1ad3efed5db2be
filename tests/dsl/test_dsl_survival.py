"""What a policy says of breakers, of concurrency and of how often a request is tried."""

import pytest

from turnout.dsl import hops
from turnout.dsl.bounds import bounds
from turnout.dsl.check import restore
from turnout.dsl.core import Breaking, Hop
from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.lint.run import lint
from turnout.dsl.prove import Prover
from turnout.dsl.settings import settings
from turnout.dsl.source import Source
from turnout.dsl.vocabulary import COUNTED
from turnout.engine import chain
from turnout.engine.catalog import language_schema
from turnout.engine.provider import FAULTS

from .conftest import Language

RULES = "routing_policy:\n  - {name: default, route: openai/gpt-4o}\n"
WRITTEN = """\
breakers: {failures: 5, cool_down: 30s}
targets:
  openai/gpt-4o: {concurrency: 20}
tenants:
  acme: {concurrency: 4}
"""
# Of RULES, the day before the keys: an archive of then is still that policy.
DIGEST_BEFORE = "sha256:f4b77a1837c4ff6d0b5f65b28f847bab8d9abbe30ce612b541b386e7e2afcbff"
LAB = 'providers: {lab: {kind: ollama, base_url: "http://l:1"}}\n'


def found(language: Language, code: str, text: str) -> list[Diagnostic]:
    return [finding for finding in language.lint(text).findings if finding.code == code]


def marked(language: Language, code: str, text: str) -> list[str]:
    return [f"{one.severity} {one.span.excerpt}" for one in found(language, code, text)]


# --- breakers and concurrency --------------------------------------------------------------------


def test_breakers_and_concurrency_are_in_the_program_as_they_were_written(
    language: Language,
) -> None:
    program = language.compile(WRITTEN + RULES)
    assert program.breaking == Breaking(failures=5, cool_down_us=30_000_000)
    assert program.targets["openai/gpt-4o"].concurrency == 20
    assert program.tenants["acme"].concurrency == 4


@pytest.mark.parametrize(
    ("section", "breaking"),
    [
        ("", Breaking()),
        ("breakers: {}", Breaking()),
        ("breakers: {failures: 1}", Breaking(failures=1)),
        ("breakers: {failures: 1k}", Breaking(failures=1_000)),
        ("breakers: {cool_down: 1s}", Breaking(cool_down_us=1_000_000)),
        ("breakers: {cool_down: 1h}", Breaking(cool_down_us=3_600_000_000)),
    ],
)
def test_what_the_section_leaves_out_is_as_built_in(
    language: Language, section: str, breaking: Breaking
) -> None:
    program = language.compile(f"{section}\n{RULES}")
    assert program.breaking == breaking
    assert program.targets["openai/gpt-4o"].concurrency is None


@pytest.mark.parametrize(
    ("head", "code", "excerpt", "help"),
    [
        ("breakers: {failures: 0}", "RP010", "0", "write a small whole number, such as `2`"),
        ("breakers: {failures: 1001}", "RP010", "1001", "write `1000`"),
        ("breakers: {failures: 5s}", "RP111", "5s", "write a small whole number, such as `2`"),
        ("breakers: {cool_down: 999ms}", "RP010", "999ms", "write `1s`"),
        ("breakers: {cool_down: 61m}", "RP010", "61m", "write `1h`"),
        ("breakers: {cool_down: 15}", "RP110", "15", "write `15s`"),
        ("breakers: 10", "RP009", "10", "write `{failures: 10}`"),
        ("breakers: {failurs: 3}", "RP005", "failurs", "did you mean `failures`?"),
        ("breakers: {threshold: 3}", "RP005", "threshold", "did you mean `failures`?"),
        ("breakers: {allowed_fails: 3}", "RP005", "allowed_fails", "did you mean `failures`?"),
        ("breakers: {cooldown: 3s}", "RP005", "cooldown", "did you mean `cool_down`?"),
        ("breakers: {open_for: 3s}", "RP005", "open_for", "did you mean `cool_down`?"),
        (
            "breakers: {recovery_timeout: 3s}",
            "RP005",
            "recovery_timeout",
            "did you mean `cool_down`?",
        ),
        ("breakers: {reset_timeout: 3s}", "RP005", "reset_timeout", "did you mean `cool_down`?"),
        ("circuit_breaker: {failures: 3}", "RP005", "circuit_breaker", "did you mean `breakers`?"),
        ("breaker: {failures: 3}", "RP005", "breaker", "did you mean `breakers`?"),
        (
            "targets: {openai/gpt-4o: {cooldown: 15s}}",
            "RP005",
            "cooldown",
            "write it at the top of the file, for all targets: `breakers: {failures: 10}`",
        ),
        (
            "targets: {openai/gpt-4o: {concurrency: 0}}",
            "RP010",
            "0",
            "write one such as `100` or `32k`",
        ),
        (
            "targets: {openai/gpt-4o: {max_parallel_requests: 5}}",
            "RP005",
            "max_parallel_requests",
            "did you mean `concurrency`?",
        ),
        (
            "targets: {openai/gpt-4o: {max_concurrency: 5}}",
            "RP005",
            "max_concurrency",
            "did you mean `concurrency`?",
        ),
        ("tenants: {acme: {parallel: 5}}", "RP005", "parallel", "did you mean `concurrency`?"),
        ("tenants: {acme: {concurrency: -1}}", "RP010", "-1", "write one such as `100` or `32k`"),
        (
            "models: {house: {target: openai/gpt-4o, concurrency: many}}",
            "RP110",
            "many",
            "write one such as `100` or `32k`",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(
    language: Language, head: str, code: str, excerpt: str, help: str
) -> None:
    program, findings = language.examine(f"{head}\n{RULES}")
    assert program is None
    (finding,) = [one for one in findings if one.severity == "error"]
    assert (finding.code, finding.span.excerpt, finding.help) == (code, excerpt, help)


def test_a_model_may_say_how_much_its_target_gets_at_a_time(language: Language) -> None:
    program = language.compile("models: {house: {target: openai/gpt-4o, concurrency: 7}}\n" + RULES)
    assert program.targets["openai/gpt-4o"].concurrency == 7
    twice = "targets: {openai/gpt-4o: {concurrency: 8}}\n"
    twice += "models: {house: {target: openai/gpt-4o, concurrency: 7}}\n"
    assert marked(language, "RP004", twice + RULES) == ["error openai/gpt-4o"]


def test_an_archived_program_comes_back_with_its_breakers_and_concurrency(
    language: Language,
) -> None:
    program = language.compile(WRITTEN + RULES)
    again = restore(program.canonical, language.schema)
    assert again.digest == program.digest
    assert again.breaking == program.breaking
    assert again.targets["openai/gpt-4o"] == program.targets["openai/gpt-4o"]
    assert again.tenants == program.tenants


def test_a_policy_without_the_new_keys_keeps_the_digest_that_it_had(language: Language) -> None:
    program = language.compile(RULES)
    assert "concurrency" not in program.canonical and "breakers" not in program.canonical
    assert program.digest == DIGEST_BEFORE
    assert restore(program.canonical, language.schema).digest == DIGEST_BEFORE


def test_two_versions_tell_what_they_say_otherwise_of_survival(language: Language) -> None:
    old, new = language.compile(RULES), language.compile(WRITTEN + RULES)
    told = {
        (one.section, one.name, one.part): (one.before, one.after, one.acts)
        for one in settings(old, new)
    }
    assert told == {
        ("breakers", "", "failures"): ("10", "5", True),
        ("breakers", "", "cool_down"): ("15s", "30s", True),
        ("target", "openai/gpt-4o", "concurrency"): (None, "20", True),
        ("tenant", "acme", ""): (None, "{concurrency: 4}", True),
    }


def test_the_state_of_a_breaker_is_one_of_three(language: Language) -> None:
    for state in ("closed", "half_open", "open"):
        language.compile(language.one_rule(f'breaker("openai/gpt-4") == "{state}"'))
    _, findings = language.examine(language.one_rule('breaker("openai/gpt-4") == "half-open"'))
    (finding,) = [one for one in findings if one.severity == "error"]
    assert (finding.code, finding.help) == ("RP112", 'did you mean `"half_open"`?')


# --- loops ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "marks"),
    [
        ("{lab/a: lab/b, lab/b: lab/a}", ["error lab/b", "error lab/a"]),
        ("{lab/a: lab/a}", ["error lab/a"]),
        ("{lab/a: lab/b, lab/b: lab/c, lab/c: lab/a}", [f"error lab/{name}" for name in "bca"]),
        ("{lab/a: lab/b, lab/b: lab/c}", ["warning lab/b"]),
        ("{lab/a: lab/b, lab/b: lab/b}", ["warning lab/b", "error lab/b"]),
        ("{small: lab/a, big: lab/b, auto: policy}", []),
        ("{small: lab/a, tiny: lab/a}", []),
        ("{lab/a: policy}", []),
    ],
)  # fmt: skip
def test_a_name_of_models_leads_to_a_target_and_not_on(
    language: Language, models: str, marks: list[str]
) -> None:
    head = f"{LAB}targets: {{lab/a: {{price: 0}}, lab/b: {{price: 0}}, lab/c: {{price: 0}}}}\n"
    assert marked(language, "RP309", f"{head}models: {models}\n{RULES}") == marks


@pytest.mark.parametrize(
    ("models", "marks"),
    [
        ("{a: a}", {"a": "write `provider/model`, such as `openai/gpt-4`"}),
        (
            "{a: b, b: openai/gpt-4o}",
            {"b": "`models:` is for clients alone: write `openai/gpt-4o`"},
        ),
        (
            "{a: b, b: a}",
            {
                "a": "write `provider/model`, such as `openai/gpt-4`",
                "b": "write `provider/model`, such as `openai/gpt-4`",
            },
        ),
    ],
)
def test_a_name_that_is_no_target_is_refused_where_it_is_stood_for(
    language: Language, models: str, marks: dict[str, str]
) -> None:
    findings = found(language, "RP301", f"models: {models}\n{RULES}")
    assert {one.span.excerpt: one.help for one in findings} == marks


def test_a_route_to_a_client_s_name_is_told_the_target(language: Language) -> None:
    text = "models: {house: openai/gpt-4o}\nrouting_policy: [{name: a, route: house}]\n"
    (finding,) = found(language, "RP301", text)
    assert finding.help == "`models:` is for clients alone: write `openai/gpt-4o`"


@pytest.mark.parametrize(
    ("rest", "marks"),
    [
        ("fallback: [openai/gpt-4o]}", ["error openai/gpt-4o"]),
        ("fallback: [groq/llama-3-8b, openai/gpt-4o]}", ["error openai/gpt-4o"]),
        ("fallback: [groq/llama-3-8b, groq/llama-3-8b]}", ["error groq/llama-3-8b"]),
        ("}\nfallback_chain: [groq/llama-3-8b, openai/gpt-4o]", []),
        ("}\nfallback_chain: [groq/llama-3-8b, groq/llama-3-8b]", ["warning groq/llama-3-8b"]),
    ],
)
def test_a_fallback_to_what_was_tried_is_refused_and_the_chain_may_repeat_a_route(
    language: Language, rest: str, marks: list[str]
) -> None:
    rule = "routing_policy:\n  - {name: default, route: openai/gpt-4o, "
    text = (rule + rest).replace(", }", "}")
    assert marked(language, "RP303", text + "\n") == marks


def test_a_fallback_to_the_same_model_by_another_name_is_found() -> None:
    text = """\
routing_policy:
  - name: default
    route: groq/llama-3-8b
    fallback: [groq/llama-3.1-8b-instant, openai/gpt-4o]
"""
    findings = lint(Source("routing.yml", text), language_schema()).findings
    told = [(one.severity, one.span.excerpt) for one in findings if one.code == "RP303"]
    assert told == [("warning", "groq/llama-3.1-8b-instant")]


# --- clocks, attempts, hops ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "options", "marks"),
    [
        ("", "timeout: 5s, ttft: 10s", ["10s"]),
        ("", "timeout: 5s, ttft: 5s", []),
        ("", "ttft: 60s", []),  # the last hop has what is left of the deadline
        ("", "timeout: 5s, connect: 6s", ["6s"]),
        ("", "timeout: 2s", []),  # a built-in clock is not the author's
        ("", "timeout: 5s, backoff: 6s", ["6s"]),
        ("", "timeout: 5s, backoff: 6s, retries: 0", []),
        ("deadline: 60s", "idle: 61s", ["61s"]),
        ("", "idle: 11m", ["11m"]),  # the built-in deadline
        ("deadline: 60s", "ttft: 90s, idle: 60s", ["90s"]),
        ("deadline: 60s", "timeout: 5s, ttft: 90s", ["90s"]),  # said once
        ("deadline: 60s\ndefaults: {timeout: 70s}", "retries: 1", ["70s"]),
        ("defaults: {timeout: 5s, ttft: 7s}", "retries: 1", ["7s"]),
        ("defaults: {timeout: 5s}", "ttft: 7s", []),  # of the last hop it may strike
    ],
)
def test_a_clock_that_another_ends_is_found(
    language: Language, head: str, options: str, marks: list[str]
) -> None:
    text = f"{head}\nrouting_policy:\n  - {{name: default, route: openai/gpt-4o, {options}}}\n"
    assert [one.span.excerpt for one in found(language, "RP314", text)] == marks


@pytest.mark.parametrize(("idle", "is_found"), [("999ms", True), ("1s", False), ("20s", False)])
def test_a_gap_of_less_than_a_second_is_found_wherever_it_is_written(
    language: Language, idle: str, is_found: bool
) -> None:
    places = (
        f"defaults: {{idle: {idle}}}\n{RULES}",
        f"routing_policy: [{{name: a, route: openai/gpt-4o, idle: {idle}}}]\n",
        f"{RULES}fallback_chain: [{{to: groq/llama-3-8b, idle: {idle}}}]\n",
    )
    for text in places:
        assert marked(language, "RP315", text) == ([f"warning {idle}"] if is_found else [])


def chains(*retries: int) -> str:
    """A policy whose hops have so many retries; the first is the route."""
    names = ["openai/gpt-4o", *(f"own/m{n}" for n in range(len(retries) - 1))]
    head = 'providers: {own: {kind: ollama, base_url: "http://l:1"}}\n'
    rows = ", ".join(f"{name}: {{price: 0}}" for name in names[1:])
    head += f"targets: {{{rows}}}\n" if rows else ""
    hops = [
        f"  - {{to: {name}, retries: {count}, timeout: 1s}}\n"
        for name, count in zip(names[1:], retries[1:], strict=True)
    ]
    return (
        f"{head}routing_policy:\n  - {{name: a, route: openai/gpt-4o, retries: {retries[0]}}}\n"
        + (f"fallback_chain:\n{''.join(hops)}" if hops else "")
    )


@pytest.mark.parametrize(
    ("retries", "messages"),
    [
        ([5, 5, 3], []),  # sixteen attempts, and no hop without one
        (
            [5, 5, 3, 0],
            [
                "`own/m2` may never be tried for `a`: the hops before can use up the 16 attempts "
                "of a request"
            ],
        ),
        (
            [5, 5, 5, 1, 1],
            [
                "`own/m2` and `own/m3` may never be tried for `a`: the hops before can use up the "
                "16 attempts of a request"
            ],
        ),
        ([6], ["6 retries use up 7 of the 16 attempts of a request"]),
        ([5], []),
        ([1] * 8, []),
    ],
)
def test_retries_that_use_up_the_attempts_are_found(
    language: Language, retries: list[int], messages: list[str]
) -> None:
    assert [one.message for one in found(language, "RP316", chains(*retries))] == messages


@pytest.mark.parametrize(("hops", "is_found"), [(1, False), (8, False), (9, True), (12, True)])
def test_more_than_eight_targets_in_a_row_are_found(
    language: Language, hops: int, is_found: bool
) -> None:
    marks = ["warning own/m7"] if is_found else []
    assert marked(language, "RP317", chains(*[0] * hops)) == marks


def test_a_long_chain_is_told_once_for_all_rules_that_share_it(language: Language) -> None:
    text = chains(*[0] * 10).replace(
        "routing_policy:\n", "routing_policy:\n  - {name: b, condition: stream, route: requested}\n"
    )
    assert len(found(language, "RP317", text)) == 1


@pytest.mark.parametrize(
    ("retries", "option", "attempts"),
    [
        ([5, 5, 3], "", 16),
        ([5, 5, 4], "", 16),
        ([10, 10, 10], "", 16),
        ([1, 1], "", 4),
        ([10, 10], ", mirror: {to: own/m0, sample: 5%}", 17),  # a copy is none of the request's
    ],
)
def test_a_request_comes_to_no_more_attempts_than_it_has(
    language: Language, retries: list[int], option: str, attempts: int
) -> None:
    text = chains(*retries).replace("route: openai/gpt-4o", f"route: openai/gpt-4o{option}")
    program = language.compile(text)
    (row, _) = bounds(program, Prover(program))
    assert (row.attempts.kind, row.attempts.value) == ("exact", attempts)


def test_the_language_and_the_gateway_mean_the_same_attempts_and_the_same_failures() -> None:
    assert hops.MOST_ATTEMPTS == chain.MOST_ATTEMPTS
    assert {fault.value for fault, row in FAULTS.items() if row.breaker} == COUNTED


# --- what `catch` means of a breaker -------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("[timeout]", {"timeout", "breaker_open"}),
        ("[rate_limit, auth]", {"rate_limit", "auth", "breaker_open"}),
        ("breaker_open", {"breaker_open"}),
        ("[context_exceeded, quota]", {"context_exceeded", "quota"}),
        ("[]", set()),
    ],
)
def test_who_goes_on_after_a_failure_goes_on_while_the_breaker_is_open(
    language: Language, written: str, meant: set[str]
) -> None:
    program = language.compile(
        f"routing_policy:\n  - {{name: a, route: openai/gpt-4o, catch: {written}}}\n"
        f"fallback_chain: [{{to: openai/gpt-4, catch: {written}}}]\n"
    )
    route = program.clauses[0].plan.route
    assert isinstance(route, Hop)
    assert route.catch == frozenset(meant)
    assert program.chain[0].catch == frozenset(meant)
