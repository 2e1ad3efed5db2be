"""The page of a code: the docstring of its file, taken apart.

Shape of the docstring: a title line, paragraphs, then `Avoid:` and `Prefer:` with an example each,
indented. An example is a whole policy, or an excerpt that `completed` makes one.
"""

import inspect
import re
from dataclasses import dataclass
from textwrap import dedent, indent
from typing import Protocol

from turnout.dsl.diagnostic import NAMES, Severity
from turnout.dsl.include import NotLoaded
from turnout.dsl.source import Source

FOLDER = "docs/codes"  # where the pages stand, from the root of the project


class Rule(Protocol):
    """The file of a code. `LEVEL` is the severity of its findings; of several, the worst."""

    __doc__: str | None
    CODE: str
    LEVEL: Severity


@dataclass(frozen=True, slots=True)
class Page:
    """What a code's page says; `avoid` and `prefer` are the examples as written."""

    code: str
    level: Severity
    title: str
    text: str
    avoid: str
    prefer: str

    @property
    def name(self) -> str:
        """The short name of the code."""
        return NAMES[self.code]

    @property
    def address(self) -> str:
        """Where the page stands, from the root of the project."""
        return f"{FOLDER}/{self.code}.md"

    @property
    def markdown(self) -> str:
        """The page for people."""
        return (
            f"# {self.code} {self.name}\n\n"
            f"{self.title} ({_LEVELS[self.level]})\n\n"
            f"{self.text}\n\n"
            f"Avoid:\n\n```yaml\n{self.avoid}```\n\n"
            f"Prefer:\n\n```yaml\n{self.prefer}```\n"
        )


_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_FORM = re.compile(
    r"(?P<title>.+)\n\n(?P<text>.+?)\n\nAvoid:\n\n(?P<avoid>.+?)\n\nPrefer:\n\n(?P<prefer>.+)",
    re.DOTALL,
)


def page_of(rule: Rule) -> Page:
    """The page in a file's docstring. Raises: ValueError where it is not in the form above."""
    match = _FORM.fullmatch(inspect.cleandoc(rule.__doc__ or ""))
    if match is None:
        raise ValueError(f"the page of {rule.CODE} is not in the form of one")
    avoid, prefer = (dedent(match[part]) + "\n" for part in ("avoid", "prefer"))
    return Page(rule.CODE, rule.LEVEL, match["title"], match["text"], avoid, prefer)


def completed(example: str) -> str:
    """An excerpt as a whole policy.

    `- …` are rules; `condition: …` is the head of one; sections without rules get a rule.
    """
    if "routing_policy" in example:
        return example
    if example.startswith("condition:"):
        route = "" if re.search("^route:", example, re.MULTILINE) else "route: groq/llama-3-8b\n"
        example = "- name: example\n" + indent(example + route, "  ")
    if example.startswith("- "):
        last = "" if "name: default" in example else _LAST
        return "routing_policy:\n" + indent(example, "  ") + last
    return f"{example}routing_policy:\n{_LAST}"


def beside(path: str) -> Source:
    """The one file that stands beside an example and can be included. Raises: NotLoaded."""
    if path != "models.yml":
        raise NotLoaded(f"there is no file `{path}`", "did you mean `models.yml`?")
    return Source(path, "attributes: {tier: [free, pro]}\n")


_LAST = "  - {name: default, route: openai/gpt-4o}\n"
