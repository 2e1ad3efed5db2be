"""A rule's fallback names a target that was tried already.

A target is tried once for a request, so this entry never runs: the fallback is shorter than it
looks. The global chain may repeat a rule's target, where it is skipped; one that it names twice
itself is a warning, and so is a model that a row names twice by two of its names.

Avoid:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b, fallback: [groq/llama-3-8b]}

Prefer:

    - {name: short, condition: tokens < 100, route: groq/llama-3-8b, fallback: [openai/gpt-4o]}
"""

from collections.abc import Iterable, Iterator

from turnout.dsl import tree
from turnout.dsl.core import Hop, Program
from turnout.dsl.diagnostic import Diagnostic, Related, Severity
from turnout.dsl.hops import plans_of
from turnout.dsl.source import Span

CODE = "RP303"
LEVEL: Severity = "error"


def find(policy: tree.Policy, program: Program | None, today: int | None) -> Iterator[Diagnostic]:
    """Targets that a rule's own fallback names again, and those that the chain names twice.

    What a choice or a split names may stand in the fallback too: only one of them is tried first.
    """
    for rule in policy.rules:
        first = [rule.route] if isinstance(rule.route, tree.Text) else []
        yield from _again((*first, *(entry.to for entry in rule.fallback or ())), LEVEL)
    yield from _again([entry.to for entry in policy.fallback_chain], "warning")
    if program is not None:
        yield from _by_another_name(program)


def _again(names: Iterable[tree.Text], level: Severity) -> Iterator[Diagnostic]:
    seen: dict[str, Span] = {}
    for name in names:
        if name.value not in seen:
            seen[name.value] = name.span
            continue
        yield Diagnostic(
            CODE,
            level,
            f"`{name.value}` is tried already, so this entry never runs",
            name.span,
            "remove it, or name another target",
            (Related("it is named here first", seen[name.value]),),
        )


def _by_another_name(program: Program) -> Iterator[Diagnostic]:
    """Hops that ask a model again by another of its names, each once."""
    found: set[Span] = set()
    for clause in program.clauses:
        for hops in plans_of(program, clause.plan):
            seen: dict[tuple[str, str], Hop] = {}
            for hop in hops:
                row = program.targets.get(hop.target)
                first = hop if row is None else seen.setdefault((row.provider, row.model), hop)
                if first is hop or hop.span in found:
                    continue
                found.add(hop.span)
                yield Diagnostic(
                    CODE,
                    "warning",
                    f"`{hop.target}` is the model that `{first.target}` is, by another name",
                    hop.span,
                    "name another model: this one has just failed",
                    (Related("it is named here first", first.span),),
                )
