"""`policy diff --format markdown`: nothing of a policy's text is more than text in a comment."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from turnout.cli.comment import code, fenced

from .conftest import Ran

Diff = Callable[..., Ran]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
# Our own words outside of code: letters, a few signs, and nothing that GitHub makes a link of.
OUR_WORDS = re.compile(r"[A-Za-z ,.:;()0-9%→✅❌❓-]*")

HOSTILE = (
    "@team",
    "#12 fixes #3",
    "https://evil.example/x www.evil.example me@evil.example",
    "0123456789abcdef0123456789abcdef01234567",
    "&lt;b&gt; <img src=x onerror=1> <!-- -->",
    "[x](http://e) ![y](http://e)",
    "a`b ``c`` ```",
    "`",
    "| a | b",
    "\\",
    "a\\|b",
    "# head",
    "- x",
    "~~~",
    "*a* _b_ ~~c~~",
)
POLICY = """lists: {{l: [{text}]}}
routing_policy:
  - {{name: {text}, condition: tokens < 100, route: {{reject: 400, message: {text}}}}}
  - name: set
    condition: 'header["x"] == "{inner}"'
    route: openai/gpt-4o
    set: {{user: {text}}}
  - {{name: rest, route: openai/gpt-4o}}
"""


def policy(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return POLICY.format(text=f'"{quoted}"', inner=quoted.replace("'", "''"))


def plain_words(tokens: list[Token]) -> list[str]:
    """The text of rendered Markdown that is in no code."""
    found = []
    for token in tokens:
        assert token.type not in ("html_block", "html_inline", "link_open", "image"), token
        if token.children:
            found += plain_words(token.children)
        elif token.type == "text":
            found.append(token.content)
    return found


def codes(tokens: list[Token]) -> list[str]:
    """What is in code spans."""
    found = [token.content for token in tokens if token.type == "code_inline"]
    return found + [text for token in tokens for text in codes(token.children or [])]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_policy_is_outside_of_code(text: str, diff: Diff) -> None:
    old = policy("old")
    gates = "--gate no-new:groq/* --gate no-new-origin"
    new = policy(text).replace("openai/gpt-4o\n    set", "groq/llama-3-8b\n    set")
    ran = diff(old, new, f"--format markdown {gates}")
    assert ran.err == ""
    tokens = MARKDOWN.parse(ran.out)
    assert all(OUR_WORDS.fullmatch(words) for words in plain_words(tokens)), plain_words(tokens)
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h3"]
    rows = [token for token in tokens if token.type == "tr_open"]
    cells = [token for token in tokens if token.type in ("th_open", "td_open")]
    assert len(cells) == 4 * len(rows)
    assert any(text in words for words in codes(tokens))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_finding_is_outside_of_code(text: str, diff: Diff) -> None:
    wrong = policy(text).replace("tokens < 100", "tokns < 100")
    ran = diff(policy("old"), wrong, "--format markdown")
    assert ran.status == 1
    assert all(OUR_WORDS.fullmatch(words) for words in plain_words(MARKDOWN.parse(ran.out)))


@given(st.text("`|\\ ab<@", min_size=1, max_size=12))
def test_a_code_span_holds_its_text_whatever_it_is(text: str) -> None:
    (paragraph,) = (token for token in MARKDOWN.parse(f"x {code(text)} y") if token.children)
    before, span, after = paragraph.children or []
    assert (before.content, span.type, span.content, after.content) == (
        "x ",
        "code_inline",
        text,
        " y",
    )


@given(st.lists(st.text("`~ ab", max_size=8), min_size=1, max_size=4))
def test_no_line_ends_the_block_of_code_that_it_is_in(lines: list[str]) -> None:
    tokens = MARKDOWN.parse("\n".join(fenced(lines, "text")))
    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].content == "\n".join(lines) + "\n"
