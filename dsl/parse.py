"""A policy's text, with the files it includes, to its tree.

Finds as much as it can in one go: one finding for a condition, then on to the next. Nothing that
is written is ignored: what is not known is an error, and so is what a later version will know.

To add a key: a line in `vocabulary`, and a line where its section is read: `parse_rules`,
`parse_targets`, `parse_sections`.

What does not belong here: names, types and targets (`check`); reading single values (`fields`).
"""

from . import parse_rules, parse_sections, parse_targets, tree
from .diagnostic import Diagnostic, PolicyError, sort
from .document import MapNode
from .draft import Draft
from .include import Load, gather, no_files
from .source import Source
from .vocabulary import ABILITIES, FAULTS, PARAMETERS, POLICY

__all__ = ["ABILITIES", "FAULTS", "parse", "parse_with_warnings"]

_NO_OPTIONS = (tree.HopOptions(), tree.RuleOptions())


def parse(source: Source, load: Load = no_files) -> tree.Policy:
    """Read a policy. Raises PolicyError with every error and warning."""
    policy, findings = parse_with_warnings(source, load)
    if policy is None:
        raise PolicyError(findings)
    return policy


def parse_with_warnings(
    source: Source, load: Load = no_files
) -> tuple[tree.Policy | None, tuple[Diagnostic, ...]]:
    """Read a policy and all findings, sorted; None where one of them is an error. Never raises."""
    whole = gather(source, load)
    draft = Draft()
    draft.findings += whole.findings
    if whole.root is None:
        return None, sort(draft.findings)
    policy = _policy(draft, whole.root, whole.sources)
    return (None if draft.failed else policy), sort(draft.findings)


def _policy(draft: Draft, root: MapNode, sources: tuple[Source, ...]) -> tree.Policy:
    top = draft.section(root, POLICY) or {}
    key_spans = {entry.key.text: entry.key.span for entry in root.entries}
    version = parse_sections.version(draft, top["version"]) if "version" in top else 1
    timezone = draft.text(top["timezone"], "`timezone`") if "timezone" in top else None
    attributes = parse_sections.attributes(draft, top["attributes"]) if "attributes" in top else {}
    definitions = parse_sections.definitions(draft, top["let"]) if "let" in top else ()
    lists = parse_sections.lists(draft, top["lists"]) if "lists" in top else ()
    limits = parse_sections.limits(draft, top["require"]) if "require" in top else ()
    hop_defaults, rule_defaults = _NO_OPTIONS
    if "defaults" in top:
        hop_defaults, rule_defaults = parse_rules.defaults(draft, top["defaults"])
        spans = {**hop_defaults.spans, **rule_defaults.spans}
        key_spans |= {f"defaults.{key}": span for key, span in spans.items()}
    rules = parse_rules.rules(draft, top.get("routing_policy"), root)
    chain = top.get("fallback_chain")
    deadline = top.get("deadline")
    wait = top.get("budget_wait")
    strict = None
    if "parameters" in top:
        strict = draft.word(top["parameters"], "treatment of parameters", PARAMETERS)
    written = parse_targets.targets(draft, top["targets"]) if "targets" in top else ()
    models, short = parse_targets.models(draft, top["models"]) if "models" in top else ((), ())
    return tree.Policy(
        source_span=root.span,
        version=version,
        timezone=timezone,
        attributes=attributes,
        definitions=definitions,
        defaults=hop_defaults,
        deadline_us=draft.duration_us(deadline, "`deadline`") if deadline else None,
        providers=parse_targets.providers(draft, top["providers"]) if "providers" in top else (),
        targets=parse_targets.united(draft, written, short),
        models=models,
        rules=rules,
        fallback_chain=parse_rules.chain(draft, chain, "`fallback_chain`") if chain else (),
        tests=parse_sections.tests(draft, top["tests"]) if "tests" in top else (),
        rule_defaults=rule_defaults,
        limits=limits,
        invariants=parse_sections.invariants(draft, top["invariants"])
        if "invariants" in top
        else (),
        lists=lists,
        embed=parse_sections.embed(draft, top["embed"]) if "embed" in top else None,
        tenants=parse_sections.tenants(draft, top["tenants"]) if "tenants" in top else (),
        budgets=parse_sections.budgets(draft, top["budgets"]) if "budgets" in top else (),
        budget_wait_us=draft.duration_us(wait, "`budget_wait`") if wait else None,
        parameters=strict.value if strict else None,
        cache=parse_sections.cache(draft, top["cache"]) if "cache" in top else None,
        breakers=parse_sections.breakers(draft, top["breakers"]) if "breakers" in top else None,
        document={e.key.text: draft.data(e.value) for e in root.entries},  # all is read by now
        key_spans=key_spans,
        sources=sources,
    )
