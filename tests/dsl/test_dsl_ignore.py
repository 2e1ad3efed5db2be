"""Findings that a comment in the policy takes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.dsl.diagnostic import NAMES, Diagnostic
from turnout.dsl.ignore import ignore
from turnout.dsl.lint.run import Linted, lint
from turnout.dsl.source import Source, Span

from .conftest import Language

OPEN = "condition: tier == 'pro'"  # RP117, an info


def policy(line: str, above: str = "") -> str:
    """A policy whose condition has a finding, with comments in and above its line."""
    return (
        "routing_policy:\n"
        "  - name: first\n"
        f"{above}"
        f"    {line}\n"
        "    route: groq/llama-3-8b\n"
        "  - {name: default, route: openai/gpt-4o}\n"
    )


def found(language: Language, text: str) -> list[tuple[str, int]]:
    return [(finding.code, finding.span.line) for finding in language.lint(text).findings]


def test_without_a_comment_the_finding_is_there(language: Language) -> None:
    assert found(language, policy(OPEN)) == [("RP117", 3)]


@pytest.mark.parametrize(
    ("line", "above", "reason"),
    [
        (f"{OPEN}  # turnout: ignore RP117 because tiers change weekly", "", "tiers change weekly"),
        (OPEN, "    # turnout: ignore RP117 because of sales\n", "of sales"),
        (OPEN, "# turnout: ignore RP117 because because\n", "because"),
        (OPEN, "#turnout:ignore RP117 because x\n", "x"),
        (OPEN, "    # turnout: ignore RP117 because x\n    # and a word on that\n\n", "x"),
        (OPEN, "    # turnout: ignore RP117 because it's # fine\n", "it's # fine"),
    ],
)
def test_a_comment_with_a_reason_takes_the_finding_back(
    language: Language, line: str, above: str, reason: str
) -> None:
    linted = language.lint(policy(line, above))
    assert linted.findings == ()
    assert [(row.finding.code, row.reason) for row in linted.ignored] == [("RP117", reason)]
    assert linted.program is not None


@pytest.mark.parametrize(
    ("comment", "code", "says"),
    [
        ("# turnout: ignore RP117", "RP011", "no reason"),
        ("# turnout: ignore RP117 because", "RP011", "no reason"),
        ("# turnout: ignore RP177 because x", "RP011", "`RP177` is no code"),
        ("# turnout: ignore RP012 because x", "RP011", "`RP012` is no code"),
        ("# turnout: ignore because x", "RP011", "names no code"),
        ("# turnout: disable RP117 because x", "RP011", "nothing that lint understands"),
        ("# turnout: ignore RP403 because x", "RP012", "no `RP403` in line 3"),
    ],
)
def test_a_comment_that_does_nothing_is_a_finding_beside_the_one_it_meant(
    language: Language, comment: str, code: str, says: str
) -> None:
    linted = language.lint(policy(f"{OPEN}  {comment}"))
    assert [finding.code for finding in linted.findings] == ["RP117", code]
    own = linted.findings[1]
    assert says in own.message and own.severity == "warning"
    assert own.span.excerpt == comment


def test_several_codes_share_a_reason(language: Language) -> None:
    both = "condition: tier == 'pro' and 100 > tokens"
    comment = "# turnout: ignore RP117, RP601 because it is generated"
    linted = language.lint(policy(f"{both}  {comment}"))
    assert linted.findings == ()
    assert [row.finding.code for row in linted.ignored] == ["RP117", "RP601"]


def test_one_comment_is_about_one_line_only(language: Language) -> None:
    text = policy(f"{OPEN}  # turnout: ignore RP601 because x").replace(
        "  - {name: default",
        "  - {name: b, condition: 9 > tokens, route: openai/gpt-4}\n  - {name: default",
    )
    assert found(language, text) == [("RP117", 3), ("RP012", 3), ("RP601", 5)]


def test_an_error_cannot_be_ignored(language: Language) -> None:
    linted = language.lint(policy("condition: tokns < 1  # turnout: ignore RP101 because x"))
    assert [finding.code for finding in linted.findings] == ["RP101", "RP011"]
    assert "errors cannot be ignored" in linted.findings[1].message
    assert linted.program is None and linted.ignored == ()


def test_beside_an_error_nothing_is_said_of_comments_that_were_not_reached(
    language: Language,
) -> None:
    text = policy("condition: tokns < 1  # turnout: ignore RP403 because x")
    assert found(language, text) == [("RP101", 3)]


@pytest.mark.parametrize(
    "line",
    [
        "condition: 'model == \"a # turnout: ignore RP117 because x\"'",
        'condition: model == "x#" # turnouts: are railway switches',
        "condition: >-\n      model == 'a # turnout: nothing'",
    ],
)
def test_what_only_looks_like_a_comment_is_none(language: Language, line: str) -> None:
    assert found(language, policy(line)) == []


def test_a_comment_in_windows_line_ends_counts_too(language: Language) -> None:
    text = policy(f"{OPEN}  # turnout: ignore RP117 because x").replace("\n", "\r\n")
    linted = language.lint(text)
    assert linted.findings == ()
    assert linted.ignored[0].reason == "x"


def test_a_comment_in_an_included_file_takes_back_what_is_found_there(language: Language) -> None:
    main = (
        "include: [part.yml]\n"
        "routing_policy:\n"
        "  - {name: first, condition: paying, route: groq/llama-3-8b}\n"
        "  - {name: default, route: openai/gpt-4o}\n"
    )
    line = "let: {paying: tier == 'pro'}"
    reason = "# turnout: ignore RP117 because they change"
    unused = "# turnout: ignore RP403 because x\n"

    def examined(part: str) -> Linted:
        return lint(
            Source("a/routing.yml", main),
            language.schema,
            None,
            lambda path: Source(f"a/{path}", part),
        )

    (found,) = examined(f"{line}\n").findings
    assert (found.code, found.span.source.name) == ("RP117", "a/part.yml")
    taken = examined(f"{line}  {reason}\n")
    assert taken.findings == () and [row.reason for row in taken.ignored] == ["they change"]
    (own,) = examined(f"{line}  {reason}\n{unused}").findings
    assert (own.code, own.span.source.name, own.span.line) == ("RP012", "a/part.yml", 2)


def test_each_file_has_its_own_comments() -> None:
    main, part = Source("a.yml", "x: 1  # turnout: ignore RP117 because x"), Source("b.yml", "x: 1")
    rows = [Diagnostic("RP117", "info", "open", Span(s, 3, 4)) for s in (main, part)]
    kept, ignored = ignore(rows, (main, part))
    assert [row.span.source.name for row in kept] == ["b.yml"]
    assert [row.finding.span.source.name for row in ignored] == ["a.yml"]


@given(st.text(max_size=40), st.sampled_from([*NAMES, "RP", ""]))
def test_no_comment_stops_lint(text: str, code: str) -> None:
    source = Source("a.yml", f"x: 1  # turnout: ignore {code} {text}")
    kept, ignored = ignore([Diagnostic("RP117", "info", "open", Span(source, 3, 4))], [source])
    assert len(kept) + len(ignored) >= 1


# --- where a comment may stand -------------------------------------------------------------------

# A policy for each code that looks at what the file says of itself; `@` is the end of the finding's
# line, `^` the line above it.
PLACES = {
    "RP118": "routing_policy:\n^  - {name: a, condition: 1 == 2, route: openai/gpt-4}@\n",
    "RP308": (
        "routing_policy:\n  - name: a\n    condition: stream\n    route: openai/gpt-4o\n"
        "^    mirror: {to: openai/gpt-4o, sample: 5%}@\n"
    ),
    "RP334": "routing_policy:\n^  - {name: a, condition: stream, route: ollama/any}@\n",
    "RP335": "targets:\n^  openai/gpt-4: {region: eu}@\nrouting_policy:\n",
    "RP336": (
        "targets: {openai/gpt-4o: {region: eu}}\nrequire:\n"
        "^  - {name: x, target: region == 'ue'}@\nrouting_policy:\n"
    ),
    "RP337": "let:\n^  small: tokens < 9@\nrouting_policy:\n",
    "RP504": (
        "tests:\n  - {expect: default}\n^  - {given: {tokns: 5}, expect: default}@\n"
        "routing_policy:\n"
    ),
}
LAST = "  - {name: default, route: openai/gpt-4o}\n"


@pytest.mark.parametrize("where", ["@", "^"])
@pytest.mark.parametrize("code", PLACES)
def test_each_code_about_the_file_itself_can_be_taken_back(
    language: Language, code: str, where: str
) -> None:
    text = PLACES[code] + LAST
    assert code in [row for row, _ in found(language, text.replace("@", "").replace("^", ""))]
    comment = f"# turnout: ignore {code} because it is meant"
    comment = f"   {comment}" if where == "@" else f"{comment}\n"
    linted = language.lint(text.replace(where, comment).replace("@", "").replace("^", ""))
    assert code not in [finding.code for finding in linted.findings]
    assert not {"RP011", "RP012"} & {finding.code for finding in linted.findings}
    assert [(row.finding.code, row.reason) for row in linted.ignored] == [(code, "it is meant")]


IGNORE = "# turnout: ignore RP118 because it is meant"


@pytest.mark.parametrize(
    "condition",
    [
        f"    condition: >   {IGNORE}\n      stream and\n      1 == 1\n",
        f"    condition: |-   {IGNORE}\n      stream and\n\n      1 == 1\n",
        f"    {IGNORE}\n    condition: >-\n      stream and\n      1 == 1\n",
        f"    {IGNORE}\n    condition: stream and\n      1 == 1\n",
        f"    condition: stream and\n      1 == 1   {IGNORE}\n",
        f"    {IGNORE}\n    condition: 'stream and\n      1 == 1'\n",
        f"    condition: 'stream and\n      1 == 1\n      and n == 1'   {IGNORE}\n",
        f"    condition: >   {IGNORE}\n      1 == 1 and\n      stream and\n      2 == 2\n",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_of_several_lines_takes_its_comment_at_an_edge(
    language: Language, condition: str, end: str
) -> None:
    text = f"routing_policy:\n  - name: a\n{condition}    route: openai/gpt-4\n{LAST}"
    linted = language.lint(text.replace("\n", end))
    assert linted.findings == ()
    assert {row.finding.code for row in linted.ignored} == {"RP118"}


@pytest.mark.parametrize(
    "rule",
    [
        f"  - {{name: a, {IGNORE}\n     route: openai/gpt-4, condition: 1 == 2}}\n",
        f"  - {{name: a,\n     condition: 1 == 2,\n     {IGNORE}\n     route: openai/gpt-4}}\n",
        f"  - name: a\n    condition: >\n      1 == 2\n    {IGNORE}\n    route: openai/gpt-4\n",
    ],
)
def test_a_comment_elsewhere_takes_nothing_back(language: Language, rule: str) -> None:
    text = f"routing_policy:\n{rule}{LAST}"
    assert sorted(code for code, _ in found(language, text)) == ["RP012", "RP118"]


@pytest.mark.parametrize(
    "rule",
    [
        f"  - {{name: a,\n     condition: 1 == 2,   {IGNORE}\n     route: openai/gpt-4}}\n",
        f"  - {{name: a,\n     {IGNORE}\n     condition: 1 == 2,\n     route: openai/gpt-4}}\n",
        f"  - {{name: a,\n     route: openai/gpt-4, condition: 1 == 2}}   {IGNORE}\n",
    ],
)
def test_a_mapping_in_braces_may_have_comments_between_its_lines(
    language: Language, rule: str
) -> None:
    linted = language.lint(f"routing_policy:\n{rule}{LAST}")
    assert linted.findings == ()
    assert [row.finding.code for row in linted.ignored] == ["RP118"]


def test_the_line_of_a_block_s_sign_is_the_only_one_with_a_comment(language: Language) -> None:
    text = (
        f"routing_policy:\n  - name: a\n    route: {{reject: 429, message: x}}\n"
        f"    condition: >\n      model == 'a {IGNORE}'\n{LAST}"
    )
    assert found(language, text) == []


@pytest.mark.parametrize(
    ("part", "code"),
    [
        ("let: {odd: 1 == 2}   # turnout: ignore RP118 because x\n", "RP118"),
        ("# turnout: ignore RP118 because x\nlet: {odd: 1 == 2}\n", "RP118"),
        (
            "let:\n  odd: >   # turnout: ignore RP118 because x\n    stream and\n    1 == 2\n",
            "RP118",
        ),
        (
            "let: {odd: stream}\ntargets: {openai/gpt-4: {region: eu}}\n"
            "require:\n  - name: x\n    # turnout: ignore RP336 because x\n"
            "    target: region == 'ue'\n",
            "RP336",
        ),
    ],
)
def test_in_an_included_file_the_new_codes_are_taken_back_too(
    language: Language, part: str, code: str
) -> None:
    main = (
        "include: [part.yml]\n"
        "routing_policy:\n"
        "  - {name: first, condition: odd or n == 2, route: groq/llama-3-8b}\n"
        "  - {name: default, route: openai/gpt-4o}\n"
    )

    def examined(text: str) -> Linted:
        return lint(Source("routing.yml", main), language.schema, None, lambda _: Source("p", text))

    taken = examined(part)
    assert taken.findings == () and [row.finding.code for row in taken.ignored] == [code]
    without_reason = examined(part.replace("because x", "")).findings
    assert {finding.code for finding in without_reason} == {code, "RP011"}
