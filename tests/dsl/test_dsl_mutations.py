"""Every word of the examples misspelt by one edit: an error on its line, with the word meant."""

import os
import random
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from turnout.dsl.diagnostic import Diagnostic
from turnout.dsl.document import MapNode, read
from turnout.dsl.expect import run as run_tests
from turnout.dsl.lint.run import Linted, lint
from turnout.dsl.source import Source
from turnout.engine.attributes import BY_NAME
from turnout.engine.catalog import language_schema

from .misspelling import Mutant, mutants

pytestmark = pytest.mark.uncounted

FOLDER = Path(__file__).parents[2] / "policies"
FILES = sorted(FOLDER.glob("**/*.yml"))
SAMPLE = None if "TURNOUT_EXAMPLES" in os.environ else 400
TODAY = 20_778
SCHEMA = language_schema()


def linted(mutant: Mutant) -> Linted:
    """What lint makes of the policy that the misspelt file belongs to."""
    path = mutant.path
    main = path.with_name("routing.yml") if path.parent != FOLDER else path
    text = mutant.text if path == main else main.read_text(encoding="utf-8")

    def load(name: str) -> Source:
        file = main.parent / name
        return Source(name, mutant.text if file == path else file.read_text(encoding="utf-8"))

    return lint(Source(main.name, text), SCHEMA, TODAY, load)


def is_another_word(mutant: Mutant) -> bool:
    """Whether the edit leads to another word that is right in its place: no test can tell."""
    word, made = mutant.word, mutant.misspelt
    if word.kind in ("name", "attribute", "given", "function"):
        return made in BY_NAME or made in ("latency", "cost", "target")
    if word.kind == "declared" and is_named_once(mutant.path, word.text):
        return True
    if word.kind == "target" or (word.kind in ("argument", "declared") and "/" in word.text):
        return SCHEMA.catalog.find(made) is not None
    return made in declared(mutant.path)


def is_named_once(path: Path, word: str) -> bool:
    """Whether a name is used by nobody but clients: what they ask for is the author's to say."""
    main = path.with_name("routing.yml") if path.parent != FOLDER else path
    text = "".join(file.read_text(encoding="utf-8") for file in dict.fromkeys((path, main)))
    return len(re.findall(rf"(?<![\w./-]){re.escape(word)}(?![\w/-])", text)) == 1


@cache
def declared(path: Path) -> frozenset[str]:
    """The names a file declares."""
    root = read(Source(path.name, path.read_text(encoding="utf-8")))
    return frozenset(
        inner.key.text
        for entry in root.entries
        if isinstance(entry.value, MapNode)
        for inner in entry.value.entries
    )


def verdict(mutant: Mutant) -> str:
    """`good`, or what is wrong with what is said about a mutant."""
    found = linted(mutant)
    word = mutant.word
    here = [f for f in found.findings if f.span.line == word.line]
    if word.kind in ("given", "expected") and found.program is not None and found.policy:
        outcomes = run_tests(found.program, found.policy.tests)
        failed = [o for o in outcomes if not o.passed]
        on_line = [o for o in failed if o.span.line == word.line]
        if any(f"`{word.text}`" in (o.help or "") for o in on_line):
            return "good"
        return "no suggestion" if on_line else "other line" if failed else "accepted"
    program = found.program
    if word.kind == "declared":
        about = [f for f in found.findings if names(f, mutant)]
        if program is not None and word.text in program.targets:
            return "good"  # a target that is known without being declared, and now another one too
        return "good" if about else "accepted"
    if any(word.text in (finding.help or "") for finding in here):
        return "good"
    if any(finding.severity == "error" for finding in here):
        return "no suggestion"
    return "other line" if any(f.severity == "error" for f in found.findings) else "accepted"


def names(finding: Diagnostic, mutant: Mutant) -> bool:
    """Whether a finding is about a name that is declared otherwise than it is used."""
    said = f"{finding.message} {finding.help or ''}"
    return mutant.word.text in said or mutant.misspelt in said


def test_a_word_misspelt_by_one_edit_is_found_where_it_stands_with_the_word_meant() -> None:
    everything = [m for path in FILES for m in mutants(path) if not is_another_word(m)]
    chosen = everything if SAMPLE is None else random.Random(2).sample(everything, SAMPLE)
    seen: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    for mutant in chosen:
        outcome = verdict(mutant)
        seen[mutant.word.kind, outcome] += 1
        if outcome != "good":
            bad.append(f"{outcome}: {mutant}")
    report = "\n".join([*(f"{k} {o}: {n}" for (k, o), n in sorted(seen.items())), *sorted(bad)])
    assert not [line for line in bad if line.startswith("accepted")], report
    assert len(bad) <= len(chosen) * 5 // 100, report


def test_the_examples_have_words_of_every_kind() -> None:
    kinds = Counter(mutant.word.kind for path in FILES for mutant in mutants(path))
    assert set(kinds) >= {
        "argument", "attribute", "declared", "enum", "expected", "function", "given", "key", "name",
        "target", "weekday",
    }  # fmt: skip
    assert sum(kinds.values()) > 3_000
