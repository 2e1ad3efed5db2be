from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from turnout.dsl.check import check
from turnout.dsl.core import Program
from turnout.dsl.diagnostic import Diagnostic, sort
from turnout.dsl.lint.page import beside
from turnout.dsl.lint.registry import ON_REQUEST, PROVED
from turnout.dsl.lint.run import Linted, lint
from turnout.dsl.nearest import nearest
from turnout.dsl.parse import parse_with_warnings
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Schema, Target, Tariff
from turnout.dsl.source import Source
from turnout.engine.attributes import BY_NAME


def rates(input: int, output: int, cache_write: int | None = None) -> Tariff:
    """Whole dollars per million tokens; `cache_write` in nano-dollars."""
    return Tariff(input * 10**9, output * 10**9, cache_write=cache_write)


ROWS = {
    target.id: target
    for target in (
        Target("openai/gpt-4", "openai", "gpt-4", rates(30, 60), 8_192, 4_096),
        Target("openai/gpt-4o", "openai", "gpt-4o-2024-11-20", rates(2, 10), 128_000, 16_384),
        Target("groq/llama-3-8b", "groq", "llama-3.1-8b", Tariff(50_000_000, 80_000_000), 131_072),
        Target("groq/llama-3-70b", "groq", "llama-3.3-70b-versatile", rates(1, 2), 131_072),
        Target(
            "anthropic/claude-sonnet",
            "anthropic",
            "claude-sonnet-4-20250514",
            replace(rates(3, 15, cache_write=3_750_000_000), above=((200_000, rates(6, 22)),)),
            1_000_000,
            64_000,
        ),
        Target("openai/unpriced", "openai", "unpriced", None, 8_192),
        Target("openai/unbounded", "openai", "unbounded", rates(1, 1)),
    )
}  # fmt: skip


class FewTargets:
    """A catalogue of a handful of rows, with what was asked of it."""

    def __init__(self, rows: Mapping[str, Target] = ROWS) -> None:
        self.rows = rows
        self.asked: list[str] = []

    def find(self, name: str) -> Target | None:
        self.asked.append(name)
        return self.rows.get(name)

    def close_to(self, name: str) -> str | None:
        return nearest(name, self.rows)

    def requestable(self, providers: Iterable[str]) -> Mapping[str, Target]:
        known = set(providers)
        names = ("gpt-4", "gpt-4o", "llama-3-70b")
        return {
            target.id.partition("/")[2]: target
            for target in self.rows.values()
            if target.provider in known and target.id.partition("/")[2] in names
        }


SCHEMA = Schema(
    BY_NAME,
    FewTargets(),
    {"openai": False, "anthropic": False, "groq": False, "ollama": True},
    ("openai", "anthropic", "ollama"),
)


TODAY = 20_778  # 2026-11-21, in days since 1970-01-01


class Language:
    """The language over a fixed catalogue, for tests."""

    schema = SCHEMA

    def examine(self, text: str) -> tuple[Program | None, tuple[Diagnostic, ...]]:
        """The program of a text and all findings of all stages."""
        policy, findings = parse_with_warnings(Source("routing.yml", text))
        if policy is None:
            return None, findings
        program, more = check(policy, SCHEMA)
        return program, sort((*findings, *more))

    def lint(self, text: str, today: int | None = TODAY) -> Linted:
        """What lint makes of a text."""
        return lint(Source("routing.yml", text), SCHEMA, today, beside)

    def prove(self, text: str, notes: bool = False) -> Linted:
        """The same with all proofs."""
        return lint(Source("routing.yml", text), SCHEMA, TODAY, beside, Prover, notes)

    def lint_for(self, code: str, text: str) -> Linted:
        """What lint makes of a text where it looks for that code."""
        return self.prove(text, code in ON_REQUEST) if code in PROVED else self.lint(text)

    def compile(self, text: str) -> Program:
        """The program of a text without errors."""
        program, findings = self.examine(text)
        assert program is not None, findings
        return program

    def one_rule(self, condition: str, head: str = "", route: str = "openai/gpt-4") -> str:
        """A policy whose first rule has the condition, in single quotes of YAML."""
        quoted = condition.replace("'", "''")
        return (
            f"{head}\nrouting_policy:\n"
            f"  - {{name: first, condition: '{quoted}', route: {route}}}\n"
            "  - {name: default, route: openai/gpt-4o}\n"
        )


@pytest.fixture(scope="session")
def language() -> Language:
    return Language()
