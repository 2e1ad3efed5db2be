"""The last line of an explanation: what would have to be otherwise for another rule to fire."""

from turnout.dsl.core import Program
from turnout.dsl.flip import nearest_flip_from
from turnout.dsl.snapshot import Snapshot
from turnout.engine.destination import route_of

from .report import printable


def nearest_change(program: Program, seen: Snapshot) -> str | None:
    """`nearest change: with tokens < 100 it would be small → groq/llama-3-8b`.

    None where nothing was found within the bounds of the search. Cost: a few ms for 20 rules,
    under a second for any policy.
    """
    found = nearest_flip_from(program, seen).flip
    if found is None:
        return None
    told = f"nearest change: with {printable(str(found))}"
    if found.clause is None:
        return f"{told} no rule would match"
    clause = program.clauses[found.clause]
    return f"{told} it would be {printable(clause.name)} → {route_of(program, clause)}"
