"""The form of policy files: what is put right, what stays, and that nothing is lost."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dsl import chance
from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.document import examine
from turnout.dsl.format import formatted
from turnout.dsl.layout import comments
from turnout.dsl.source import Source
from turnout.dsl.vocabulary import POLICY, Either, Kind, ListOf, MapOf, Section, Value

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "policies").glob("**/*.yml"))
CASES = [
    pytest.param(before, after, id=title)
    for case in (Path(__file__).parent / "format" / "cases.txt").read_text().split("=== ")[1:]
    for title, _, rest in [case.partition("\n")]
    for before, _, after in [rest.partition("--- becomes\n")]
]


def form(text: str) -> str:
    return formatted(Source("routing.yml", text))


@pytest.mark.parametrize(("before", "after"), CASES)
def test_a_text_gets_its_form(before: str, after: str) -> None:
    assert form(before) == after


@pytest.mark.parametrize(("before", "after"), CASES)
def test_what_is_in_form_stays(before: str, after: str) -> None:
    assert form(after) == after


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_example_is_in_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.stem == "first":  # kept word for word; its form is a case of its own
        assert form(form(text)) == form(text)
    else:
        assert form(text) == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\ufefflet: {a: stream}\n", "let: {a: stream}\n"),
        ("let: {a: stream}\r\n# é\r\n", "let: {a: stream}\n# é\n"),
        ("let: {a: stream}", "let: {a: stream}\n"),
        ("let: {a: stream}   \n  \n", "let: {a: stream}\n"),
        ("let:\t{a:\tstream}\t# a\tb\t\n", "let: {a: stream}  # a\tb\n"),
        ("let:\n  a: tokens\t<\t5\n", "let:\n  a: tokens < 5\n"),
        ('embed: {target: "a\tb"}\n', 'embed: {target: "a\tb"}\n'),
        ("lists:\n  a:\n    - |\n      x", "lists:\n  a:\n    - |\n      x"),  # a line end is text
        ("lists:\n  a:\n    - |+\n      x\n\n", "lists:\n  a:\n    - |+\n      x\n\n"),
        ("lists:\n  a:\n    - |\n      x\n\n\n", "lists:\n  a:\n    - |\n      x\n"),
        (
            "fallback_chain:\n  - 'x/y (timeout: 2s)'\n  - \"a/b\"\n",
            "fallback_chain:\n  - {to: x/y, timeout: 2s}\n  - a/b\n",
        ),
    ],
)
def test_marks_ends_of_lines_and_tabs_are_put_right(before: str, after: str) -> None:
    assert form(before) == after


@pytest.mark.parametrize(
    "text",
    [
        'lists:\n  - name: "default"#\n',
        'let:\n  a: "stream"# close\n',
        "fallback_chain:\n  - openai/\n    gpt-4 (timeout: 5s)\n",
        "fallback_chain:\n  -\nlet: {a: stream}\n",
        "fallback_chain:\n  - {to: x/y, timeout: 2s}\n  -\ntests: []\n",
        "providers: >\n  a\n   \n",
        "providers: |\n  a\n   \n\n",
    ],
)
def test_what_hardly_makes_a_policy_keeps_its_meaning(text: str) -> None:
    assert form(form(text)) == form(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("let: {a: tokens <}\n", "RP001"),
        ("let:\n  a: tokens && stream\n  b: tokens <\n", "RP001"),
        ("let:\n\ta: stream\n", "RP002"),
        ("let: {a: stream\n", "RP002"),
        ("let: {a: stream, a: stream}\n", "RP004"),
        ("fallback_chain:\n  - x/y (timeout: 2s, when: tokens <)\n", "RP001"),
        ("", "RP008"),
    ],
)
def test_a_text_that_cannot_be_read_is_refused_with_its_findings(text: str, code: str) -> None:
    with pytest.raises(PolicyError) as error:
        form(text)
    assert {finding.code for finding in error.value.diagnostics} == {code}


def test_every_unreadable_condition_is_told_at_once() -> None:
    with pytest.raises(PolicyError) as error:
        form("let:\n  a: tokens <\n  b: stream\n  c: '!stream'\n")
    assert [finding.span.line for finding in error.value.diagnostics] == [2, 4]


def test_keys_and_targets_nobody_knows_do_not_keep_a_file_from_its_form() -> None:
    assert form('rules:\n- name: "a"\n  rout: x/y\n') == "rules:\n  - name: a\n    rout: x/y\n"


# --- whatever white space there is -----------------------------------------------------------


def worse(text: str, width: int, behind: int, data: st.DataObject) -> str:
    """The text with other white space that means the same: `width` columns for each level.

    A dash has `behind` columns to what follows it; what stands below that is as far in.
    """
    lines = []
    dashes: list[int] = []  # the levels whose dash stands above
    for line in text.split("\n"):
        content = line.lstrip(" ")
        level = (len(line) - len(content)) // 2
        if content:
            dashes = [dash for dash in dashes if dash < level]
        column = (level - len(dashes)) * width + len(dashes) * behind
        if content.startswith("- "):
            dashes.append(level)
            content = "-" + " " * (behind - 1) + content[2:]
        lines.append(" " * column + content + " " * data.draw(st.integers(0, 2)))
        lines += [""] * (0 if line else 2)
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    return data.draw(st.sampled_from(["", "\ufeff"])) + end.join(lines)


@pytest.mark.uncounted
@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 3, 4, 8]), st.sampled_from([2, 3, 4]))
def test_other_white_space_leads_to_the_same_form(
    data: st.DataObject, width: int, behind: int
) -> None:
    path = data.draw(st.sampled_from(EXAMPLES))
    text = path.read_text(encoding="utf-8")
    assert form(worse(text, width, behind, data)) == form(text)


@given(st.text(alphabet="ab:#-[]{}'\"|>, \n&*!?()", max_size=40))
def test_any_text_keeps_its_comments_and_its_form_or_is_refused(text: str) -> None:
    try:
        made = form(text)
    except PolicyError:
        return
    assert form(made) == made
    assert comments(made) == comments(text)
    assert examine(Source("x", made)).root is not None


@given(st.data(), chance.nested(chance.CONDITIONS), st.sampled_from(["|", ">", "|-", ">+"]))
def test_a_condition_on_lines_of_its_own_keeps_them_and_its_meaning(
    data: st.DataObject, condition: str, header: str
) -> None:
    pieces = [part for part in re.findall(r'"[^"]*"|[ ()]|[^ ()"]+', condition) if part.strip()]
    gaps = st.sampled_from(["", " ", "  ", "\n", "\n  ", "\n\n    "])
    block = pieces[0]
    for before, piece in pairwise(pieces):
        gap = data.draw(gaps)
        glues = before[-1].isalnum() and (piece[0].isalnum() or piece[0] in '_."')
        block += (gap or " " if glues else gap) + piece
    indented = block.replace("\n", "\n      ")
    made = form(f"let:\n  a: {header}\n      {indented}\n  b: stream\n")
    assert form(made) == made
    whole = form(f"let:\n  a: {condition}\n")
    kept = made.partition("\n  b:")[0].split(header, 1)[1]
    assert "".join(kept.split()) == "".join(whole.partition("a:")[2].strip("\n '").split())
    lines = [line for line in kept.splitlines() if line.strip()]
    assert lines[0].startswith("    ") and not lines[0].startswith("     ")


# --- the tables agree ----------------------------------------------------------------------------


def places(kind: Kind, wanted: Value, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where the vocabulary has values of a kind, as paths; `*` is any key or item."""
    match kind:
        case Section(keys=keys):
            for key in keys:
                yield from places(key.kind, wanted, (*path, key.name))
        case ListOf(item=inner) | MapOf(value=inner):
            yield from places(inner, wanted, (*path, "*"))
        case Either(kinds=kinds):
            for inner in kinds:
                yield from places(inner, wanted, path)
        case _ if kind is wanted:
            yield path


def test_every_condition_and_hop_of_the_vocabulary_is_put_into_form() -> None:
    conditions = set(places(POLICY, Value.CONDITION))
    assert len(conditions) > 8
    for path in conditions:
        assert "tokens < 5" in form(nested(path, "tokens<5")), path
    for path in set(places(POLICY, Value.HOP)):
        assert "{to: x/y, ttft: 1s}" in form(nested(path, "x/y (ttft: 1s)")), path


def nested(path: tuple[str, ...], value: str) -> str:
    """A document with a value at a path, in lists where the path may be of a list."""
    lists = ("routing_policy", "fallback_chain", "fallback", "require", "invariants", "tests")
    lines = []
    column, dash = 0, ""
    for index, key in enumerate(path):
        if key == "*" and path[index - 1] in lists:
            dash = "- "
            continue
        lines.append(f"{' ' * column}{dash}{'name' if key == '*' else key}:")
        column, dash = column + 2 + len(dash), ""
    if dash:
        return "\n".join([*lines, f"{' ' * column}- {value}", ""])
    return "\n".join([*lines[:-1], f"{lines[-1]} {value}", ""])
