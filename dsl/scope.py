"""What the names of one policy mean while its conditions are read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import tree
from .core import Slot, Term
from .diagnostic import Diagnostic
from .schema import Attribute, Type
from .targets import Targets

# Names that stand for an attribute of the rule's target, or for the same attribute.
ALIASES = {
    "prompt_tokens": "tokens",
    "latency": "p95",
    "latency.p50": "p50",
    "latency.p95": "p95",
}
FUNCTIONS = ("known", "min", "max", "worst_case", "cost")
REQUESTED_ATTRIBUTE = Attribute(
    "requested", Type.TEXT, "The target that the request's model stands for."
)


@dataclass
class Scope:
    """What names mean in one policy, and what was found while conditions were read.

    `findings` are warnings and notes; `slots` are the snapshot keys of the terms made so far;
    `costs` are the terms of costs by kind and target, each made once however often it is written.
    """

    attributes: Mapping[str, Attribute]
    definitions: Mapping[str, tree.Definition]
    targets: Targets
    findings: list[Diagnostic] = field(default_factory=list)
    slots: dict[str, Slot] = field(default_factory=dict)
    noted_open: set[str] = field(default_factory=set)
    poisoned: set[str] = field(default_factory=set)
    costs: dict[tuple[str, str], Term] = field(default_factory=dict)
