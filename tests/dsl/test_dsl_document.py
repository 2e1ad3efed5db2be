import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turnout.dsl.diagnostic import PolicyError
from turnout.dsl.document import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    examine,
    hop_form,
    read,
    written,
)
from turnout.dsl.source import Source


def value_of(text: str, key: str) -> Node:
    return {entry.key.text: entry.value for entry in read(Source("f", text)).entries}[key]


def scalar(text: str, key: str = "a") -> ScalarNode:
    node = value_of(text, key)
    assert isinstance(node, ScalarNode)
    return node


@pytest.mark.parametrize(
    "text", ["22:30", "on", "NO", "1.10", "0123", "0x1f", "1_000", "yes", "2026-10-01", "~x", "="]
)
def test_a_plain_value_is_its_text_whatever_yaml_1_1_makes_of_it(text: str) -> None:
    node = scalar(f"a: {text}\n")
    assert (node.text, node.style, node.is_null) == (text, "plain", False)


@pytest.mark.parametrize("text", ["", " ~", " null"])
def test_nothing_written_is_null(text: str) -> None:
    assert scalar(f"a:{text}\n").is_null


def test_keys_are_text_too() -> None:
    root = read(Source("f", "on: 1\n0123: 2\n"))
    assert [entry.key.text for entry in root.entries] == ["on", "0123"]


@pytest.mark.parametrize(
    ("text", "line", "column", "excerpt", "style"),
    [
        ("a: b c\n", 1, 4, "b c", "plain"),
        ("x: 1\na:   'it''s'  # c\n", 2, 6, "'it''s'", "single"),
        ('a: "b\\tc"\n', 1, 4, '"b\\tc"', "double"),
        ("a: |\n  b\n  c\n\nd: e\n", 1, 4, "|\n  b\n  c", "literal"),
        ("a: >-\n  b\nd: e\n", 1, 4, ">-\n  b", "folded"),
        ("a: &anchor b c\n", 1, 12, "b c", "plain"),
        ("a: !!str b c\n", 1, 10, "b c", "plain"),
        ("{x: 1, a: b c}\n", 1, 11, "b c", "plain"),
        ("a: é ü\nb: 1\n", 1, 4, "é ü", "plain"),
        ("\ufeffa: b\n", 1, 4, "b", "plain"),
        ("x: 1\r\na: b\r\n", 2, 4, "b", "plain"),
    ],
)
def test_every_value_knows_its_place(
    text: str, line: int, column: int, excerpt: str, style: str
) -> None:
    node = scalar(text)
    assert (node.span.line, node.span.column, node.span.excerpt) == (line, column, excerpt)
    assert node.style == style


def test_lists_and_mappings_end_with_their_last_value() -> None:
    text = "a:\n  - b\n  - c: d\n    e: [f, g]\nh: {i: j}\n"
    outer, inner = value_of(text, "a"), value_of(text, "h")
    assert isinstance(outer, ListNode) and isinstance(inner, MapNode)
    assert outer.span.excerpt == "- b\n  - c: d\n    e: [f, g]"
    assert outer.items[1].span.excerpt == "c: d\n    e: [f, g]"
    assert inner.span.excerpt == "{i: j}"


def test_a_value_may_be_repeated_by_an_alias() -> None:
    text = "a: &x [b, c]\nd: *x\n"
    assert value_of(text, "d") == value_of(text, "a")


def test_an_alias_bomb_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 9):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    with pytest.raises(PolicyError, match=f"more than {MAX_NODES} values"):
        read(Source("f", "\n".join(lines)))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "a: " + "{a: " * 50_000, "- " * 50_000, "[[[[{" * 9_000]
)
def test_depth_is_bounded(text: str) -> None:
    with pytest.raises(PolicyError, match=f"deeper than {MAX_DEPTH}"):
        read(Source("f", text))


def test_size_is_bounded() -> None:
    with pytest.raises(PolicyError, match=f"more than {MAX_CHARACTERS} characters"):
        read(Source("f", "a: " + "b" * MAX_CHARACTERS))


@pytest.mark.uncounted
def test_every_value_counts_once() -> None:
    half = MAX_NODES // 2 - 2  # an item is two values; the file, its key and the list are three
    assert read(Source("f", f"a: [{'[{}], ' * half}]")).entries
    with pytest.raises(PolicyError, match=f"more than {MAX_NODES} values"):
        read(Source("f", f"a: [{'[{}], ' * (half + 1)}]"))


@pytest.mark.uncounted
def test_ten_thousand_rules_fit_into_one_file() -> None:
    rules = "".join(
        f'  - name: rule_{i}\n    condition: tenant == "tenant_{i}" and tokens < {i}\n'
        f"    route: openai/gpt-4o-mini\n"
        for i in range(10_000)
    )
    (section,) = read(Source("f", f"routing_policy:\n{rules}")).entries
    assert isinstance(section.value, ListNode)
    assert len(section.value.items) == 10_000


def test_a_duplicate_key_shows_both_places() -> None:
    with pytest.raises(PolicyError) as caught:
        read(Source("f", "a: 1\nb: {c: 1, c: 2}\n"))
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.span.column) == ("RP004", 11)
    assert [related.span.column for related in finding.related] == [5]


def test_tabs_inside_quoted_and_block_text_are_text() -> None:
    assert scalar('a: "x\n\ty"\nb: 1\n').text == "x y"
    assert scalar("a: |\n  x\n  \ty\n").text == "x\n\ty\n"
    assert scalar("a:\tb\n").text == "b"


@pytest.mark.parametrize(
    ("text", "target", "options"),
    [
        ("- groq/llama-3-70b (timeout: 2s)\n", "groq/llama-3-70b", {"timeout": "2s"}),
        ("- x/y (timeout: 2s, retries: 1)\n", "x/y", {"timeout": "2s", "retries": "1"}),
        ("- x/y(timeout: 2s)\n", "x/y", {"timeout": "2s"}),
        ("[x/y (timeout: 2s, retries: 1), z]\n", "x/y", {"timeout": "2s", "retries": "1"}),
        ('- "x/y (timeout: 2s)"\n', "x/y", {"timeout": "2s"}),
        ("- x/qwen2.5:32b (idle: 5s)  # why\n", "x/qwen2.5:32b", {"idle": "5s"}),
    ],
)
def test_a_target_with_options_is_read_with_true_columns(
    text: str, target: str, options: dict[str, str]
) -> None:
    root = value_of(f"a:\n  {text}", "a")
    assert isinstance(root, ListNode) and isinstance(root.items[0], ScalarNode)
    form = hop_form(root.items[0])
    assert form is not None and form[1] is not None
    assert (form[0].text, form[0].span.excerpt, form[2]) == (target, target, ())
    found = {entry.key.text: entry for entry in form[1].entries}
    assert {key: entry.value.span.excerpt for key, entry in found.items()} == options
    for key, value in options.items():
        assert found[key].key.span.column == f"  {text}".index(key) + 1
        assert found[key].value.span.column == f"  {text}".index(f": {value}") + 3


def test_a_list_inside_the_options_stays_a_list() -> None:
    node = scalar("a: x/y (catch: [timeout, 5xx], timeout: 2s)\n")
    form = hop_form(node)
    assert form is not None and form[1] is not None
    assert isinstance(form[1].entries[0].value, ListNode)


def test_text_that_only_looks_like_options_is_left_as_it_is() -> None:
    assert scalar('a: "see x/y (note: this, {that})"\n').text == "see x/y (note: this, {that})"


@pytest.mark.parametrize(
    "text",
    [
        "a: b c\n",
        "a: 'it''s'\n",
        'a: "q \\"x\\" \\u00e9 \\\\ \\x41 \\t."\n',
    ],
)
def test_what_is_written_is_what_yaml_reads_character_for_character(text: str) -> None:
    node = scalar(text)
    characters, offsets = written(node)
    assert characters == node.text
    assert len(offsets) == len(characters) + 1
    assert offsets == sorted(offsets)


@pytest.mark.parametrize(
    "text",
    ["a: [}", "%", "%YAML 9.9\n---\na", "\x00", "\ud800", "a: \u2028b: c", "&", "*", "? ", "{? ",
     "\t", "a: !<", "a: !<x", "a: 'b", "a: |9x", "- - - a\n -", "---\n...\n---", "&a &b c",
     "a: *a", "{a: &a"],
)  # fmt: skip
def test_broken_text_is_a_finding_with_a_place(text: str) -> None:
    document = examine(Source("f", text))
    if document.root is None:
        assert document.findings
    for finding in document.findings:
        assert 0 <= finding.span.start <= finding.span.end <= len(text)
        assert finding.help


@settings(deadline=None)
@given(st.text(alphabet="ab:-[]{}()\"'#&*!|>%@`? \n\t,~\\\ufeff\u2028é", max_size=60))
def test_no_text_whatever_raises_anything_else(text: str) -> None:
    try:
        assert isinstance(read(Source("f", text)), MapNode)
    except PolicyError as error:
        assert error.diagnostics
