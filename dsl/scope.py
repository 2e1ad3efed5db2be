"""What the names of one policy mean while its conditions are read, and where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import tree
from .core import Slot, Term
from .diagnostic import Diagnostic
from .schema import Attribute, Target, Type
from .targets import Targets

FUNCTIONS = ("known", "min", "max", "worst_case", "cost")
REQUESTED_ATTRIBUTE = Attribute(
    "requested", Type.TEXT, "The target that the request's model stands for."
)
ROUTE = "route"  # in an invariant: the id of the target that a request goes to
TAGS = "tags"  # in a limit and in `where`: the tags of the target in question


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression stands, so what its bare names of a target are about.

    `target` is what bare `cost` and `latency` are about: a target, REQUESTED, or None where there
    is not exactly one. `row` is the candidate of a `where`, whose facts are constants there.
    `has_facts`: the facts of a target may be read; without a `row` they are keys `target.…`.
    `has_route`: an invariant, which may read `route`, and whose bare cost is that of the target
    there. `facts_beside`: the key beside this place where facts may be read, if there is one.
    """

    target: str | None = None
    row: Target | None = None
    has_facts: bool = False
    has_route: bool = False
    facts_beside: str | None = None


@dataclass
class Scope:
    """What names mean in one policy, and what was found while conditions were read.

    `findings` are warnings and notes; `slots` are the snapshot keys of the terms made so far;
    `costs` are the terms of costs by kind and target, each made once however often it is written.
    `budgets` are the names of budgets; `can_embed`: the policy says what makes embeddings.
    `parts`: how large all conditions are together, `let` names and lists spelt out.
    """

    attributes: Mapping[str, Attribute]
    definitions: Mapping[str, tree.Definition]
    targets: Targets
    findings: list[Diagnostic] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    noted_open: set[str] = field(default_factory=set)
    poisoned: set[str] = field(default_factory=set)
    costs: dict[tuple[str, str], Term] = field(default_factory=dict)
    lists: Mapping[str, tree.ListEntry] = field(default_factory=dict)
    budgets: frozenset[str] = frozenset()
    can_embed: bool = False
    parts: int = 0
