"""Names of targets and of their facts that nobody can check but the file itself."""

import pytest

from turnout.dsl.diagnostic import Diagnostic

from .conftest import Language

LAB = 'providers: {lab: {kind: ollama, base_url: "http://l:1"}}\n'


def rules(*routes: str) -> str:
    entries = [
        f"  - {{name: r{n}, condition: tokens < {n + 1}, route: {r}}}\n"
        for n, r in enumerate(routes)
    ]
    return f"routing_policy:\n{''.join(entries)}  - {{name: default, route: openai/gpt-4o}}\n"


def found(language: Language, code: str, text: str) -> list[Diagnostic]:
    return [finding for finding in language.lint(text).findings if finding.code == code]


def marked(language: Language, code: str, text: str) -> list[str]:
    return [f"{f.severity} {f.span.excerpt}" for f in found(language, code, text)]


# --- models of providers that answer for free ----------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "used", "is_refused"),
    [
        ("lab/qwen2.5:14b", "lab/qwenn2.5:14b", True),
        ("lab/qwen2.5:14b", "lab/qewn2.5:14b", True),
        ("lab/qwen2.5:14b", "lab/Qwen2.5:14b", True),
        ("lab/qwen2.5:14b", "lab/qwen2.5:7b", False),  # another size
        ("lab/llama3", "lab/llama3.1", False),  # another version
        ("lab/qwen2.5:14b", "lab/qwen2.5:14b-q4", False),
        ("lab/mistral", "lab/gemma", False),
        ("lab/mistral", "lab/mistral", False),
    ],
)
def test_a_free_model_one_letter_from_a_declared_one_is_refused(
    language: Language, declared: str, used: str, is_refused: bool
) -> None:
    text = f"{LAB}targets: {{{declared}: {{price: 0}}}}\n{rules(used, declared)}"
    findings = found(language, "RP301", text)
    assert [finding.span.excerpt for finding in findings] == ([used] if is_refused else [])
    for finding in findings:
        assert f"did you mean `{declared}`?" in (finding.help or "")
    both = f"{LAB}targets: {{{declared}: {{price: 0}}, {used}: {{price: 0}}}}\n{rules(used)}"
    if used != declared:
        assert found(language, "RP301", both) == []


@pytest.mark.parametrize(
    ("routes", "marks"),
    [
        (["lab/any"], ["info lab/any"]),
        (["lab/any", "lab/any"], ["info lab/any"]),
        (["lab/my-lama", "lab/my-llama"], ["warning lab/my-lama", "info lab/my-llama"]),
        (
            ["lab/my-llama", "lab/my-llama", "lab/my-lama"],
            ["info lab/my-llama", "warning lab/my-lama"],
        ),
        (
            ["lab/my-lama", "lab/my-lama", "lab/my-llama"],
            ["info lab/my-lama", "warning lab/my-llama"],
        ),
        (["lab/a:7b", "lab/a:14b"], ["info lab/a:7b", "info lab/a:14b"]),
        (["openai/gpt-4"], []),
    ],
)
def test_a_free_model_that_nobody_declares_is_noted(
    language: Language, routes: list[str], marks: list[str]
) -> None:
    assert marked(language, "RP334", LAB + rules(*routes)) == marks


# --- targets that nothing uses -------------------------------------------------------------------

DECLARED = "targets: {openai/gpt-4: {expected: {p95: 4s}}}\n"


@pytest.mark.parametrize(
    "use",
    [
        rules("openai/gpt-4"),
        rules("requested"),  # clients may ask for it
        rules("{first_of: [openai/gpt-4, groq/llama-3-8b]}"),
        rules("{split: {openai/gpt-4: 50%, groq/llama-3-8b: 50%}, sticky: session}"),
        rules() + "fallback_chain: [openai/gpt-4]\n",
        rules() + "models: {house: openai/gpt-4}\n",
        rules() + "defaults: {mirror: {to: openai/gpt-4, sample: 1%}}\n",
        rules() + 'let: {slow: p95("openai/gpt-4") > 8s}\n',
        rules() + 'invariants: [{name: a, never: route == "openai/gpt-4"}]\n',
    ],
)
def test_a_target_that_is_named_somewhere_is_used(language: Language, use: str) -> None:
    assert marked(language, "RP335", DECLARED + use) == []


def test_a_target_that_makes_embeddings_is_used_by_whoever_asks_for_it(language: Language) -> None:
    declared = "targets: {openai/unpriced: {price: 0, region: eu, embeddings: true}}\n"
    assert marked(language, "RP335", declared + rules()) == []


def test_a_target_that_nothing_names_is_noted_with_the_name_that_is_used(
    language: Language,
) -> None:
    (finding,) = found(language, "RP335", DECLARED + rules())
    assert (finding.severity, finding.span.excerpt) == ("info", "openai/gpt-4")
    assert finding.help == "did you mean `openai/gpt-4o`?"


# --- facts ---------------------------------------------------------------------------------------

FACTS = "targets: {openai/gpt-4o: {region: eu, owner: core, tags: [fast]}}\n"


@pytest.mark.parametrize(
    ("target", "marks"),
    [
        ('region == "eu"', []),
        ('region == "ue"', ['warning "ue"']),
        ('"ue" != region', ['warning "ue"']),
        ('region in ["eu", "us"]', ['warning "us"']),
        ('not (owner == "cor" or vision)', ['warning "cor"']),
        ('provider == "openai"', []),
        ('provider == "opnai"', ['warning "opnai"']),
        ('"fast" in tags', []),
        ('"fats" not in tags', ['warning "fats"']),
        ('tier == "any" or region == "eu"', []),  # of the request
    ],
)
def test_a_text_that_no_target_has_as_its_fact_is_found(
    language: Language, target: str, marks: list[str]
) -> None:
    text = f"{FACTS}require:\n  - {{name: a, target: '{target}'}}\n{rules()}"
    assert marked(language, "RP336", text) == marks
    choice = f"{{first_of: [openai/gpt-4o, groq/llama-3-8b], where: '{target}'}}"
    assert marked(language, "RP336", FACTS + rules(choice)) == marks


def test_in_a_definition_a_name_of_the_request_is_no_fact(language: Language) -> None:
    head = "let: {ours: 'provider == \"opnai\"', near: 'region == \"ue\"'}\n"
    limit = "require:\n  - {name: a, target: near}\n"
    assert marked(language, "RP336", FACTS + head + limit + rules()) == ['warning "ue"']
