"""From a policy as written to the program it means, or to everything that is wrong with it.

`check` collects findings and goes on; a program comes out only where no error was found. The
schema is handed in: the policy's own `attributes:`, `providers:` and `targets:` are laid over it.
Over 300 lines because each section of a policy is checked here, against all the others.
"""

import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from . import declared, tree
from .canonical import Recording, canonical, digest, reopen
from .core import (
    REQUESTED,
    And,
    Clause,
    Compare,
    Const,
    Hop,
    Known,
    Latch,
    Member,
    Mirror,
    Named,
    Plan,
    Program,
    Read,
    Reject,
    Slot,
    Term,
)
from .diagnostic import Diagnostic, PolicyError, sort
from .facts import PREFIX
from .fields import MAX_FINDINGS
from .hold import hold
from .hops import DEADLINE_US, hop
from .include import Load, no_files
from .infer import attribute_read, define, infer
from .keys import ALIASES
from .nearest import nearest, suggestion
from .parse import parse
from .refusal import Poisoned, Refused, warning
from .routes import Form, Lowering, form_of
from .schema import WEEKDAYS, Attribute, Parameter, Schema, Type
from .scope import FUNCTIONS, Place, Scope
from .source import Source, Span
from .targets import STRICT, Targets
from .walk import children, gateway_terms, leaves_first, reads

GENERATION = ("chat", "completions", "responses", "messages")
THE_POLICY = "policy"  # what a client's model name stands for where the rules decide
DEFAULT = "default"  # the tier and the tenant of a caller without one
# Texts whose values are settled elsewhere: a list of them would forbid nothing.
_NOT_DECLARED = {
    "model": "they are those of `models:`, of the targets and of the catalogue; to refuse others, "
    'write a rule: `condition: \'model not in ["gpt-4o", "auto"]\'`, `route: {reject: 400}`',
    "provider": "it is that of the target asked for; keep others out with a limit under `require:`",
    "session": "it is a hash; use `bucket` to tell sessions apart",
}


def check(policy: tree.Policy, schema: Schema) -> tuple[Program | None, tuple[Diagnostic, ...]]:
    """The program of a policy and the findings, by place; no program where one is an error."""
    return _Check(policy, schema).run()


def compile_policy(source: Source, schema: Schema, load: Load = no_files) -> Program:
    """The program of a source; `load` reads what it includes.

    Raises: PolicyError with every finding, if one is an error.
    """
    program, findings = check(parse(source, load), schema)
    if program is None:
        raise PolicyError(findings)
    return program


def restore(archived: str, schema: Schema) -> Program:
    """The program of an archived canonical text, with the digest it had.

    The archived catalogue rows win over today's. Raises: PolicyError where the language itself has
    moved on, so that the old text is no longer a policy.
    """
    source, then = reopen(archived, schema)
    return replace(compile_policy(source, then), canonical=archived, digest=digest(archived))


@cache
def timezones() -> frozenset[str]:
    """The names of all timezones; listing them walks a folder, so it is done once."""
    return frozenset(zoneinfo.available_timezones())


class _Check:
    """One run over one policy."""

    def __init__(self, policy: tree.Policy, schema: Schema) -> None:
        self._policy = policy
        self._schema = schema
        self._findings: list[Diagnostic] = []
        self._errors = 0
        self._catalog = Recording(schema.catalog)
        self._attributes = self._with_domains()
        self._targets = Targets(policy, replace(schema, catalog=self._catalog))
        definitions = {entry.name.value: entry for entry in policy.definitions}
        self._scope = Scope(
            self._attributes,
            definitions,
            self._targets,
            self._findings,
            lists={entry.name.value: entry for entry in policy.lists},
            budgets=frozenset(entry.name.value for entry in declared.written_budgets(policy)),
            can_embed=policy.embed is not None,
        )
        self._latches: list[Latch] = []
        self._guard: Term = Member(
            Read("request_type", Type.ENUM), frozenset(GENERATION)
        )  # one object for all clauses: it is evaluated once

    def run(self) -> tuple[Program | None, tuple[Diagnostic, ...]]:
        policy = self._policy
        self._findings += self._targets.problems()
        self._check_names()
        self._check_timezone()
        for entry in policy.targets:
            self._look_up(entry.name)
        models = dict(self._models())
        self._check_routes()
        for name in self._scope.definitions:
            refusal = None if self._is_full else define(name, self._scope)
            if refusal is not None:
                self._take(refusal)
        embedding = declared.embedding(policy, self._targets, self._take)
        chain = tuple(self._hops(policy.fallback_chain))
        clauses = tuple(self._clause(index, rule) for index, rule in enumerate(policy.rules))
        deadline_us = DEADLINE_US if policy.deadline_us is None else policy.deadline_us
        limits = tuple(declared.limits(policy, self._term))
        cache = declared.cache(policy, self._term)
        tenants = tuple(declared.tenants(policy, self._attributes, self._take))
        budgets = tuple(declared.budgets(policy, self._attributes, self._targets, self._take))
        slots_used = list(gateway_terms(clauses, chain, limits, self._latches, cache))
        invariants = tuple(declared.invariants(policy, self._term))  # about every target found
        findings = sort(self._findings)
        if any(finding.severity == "error" for finding in findings):
            return None, findings
        text = canonical(policy, self._catalog, self._targets.found, self._schema.providers)
        wait_us = policy.budget_wait_us
        return (
            Program(
                clauses=clauses,
                chain=chain,
                requested=hop(
                    REQUESTED,
                    tree.HopOptions(),
                    policy.defaults,
                    None,
                    tree.Text(REQUESTED, policy.source_span),
                ),
                deadline_us=deadline_us,
                timezone=policy.timezone.value if policy.timezone else "UTC",
                slots=self._slots(slots_used),
                targets=dict(self._targets.found),
                models=models,
                providers=dict(self._targets.providers),
                token_cuts=token_cuts(slots_used),
                schema=replace(self._schema, attributes=self._attributes),
                canonical=text,
                digest=digest(text),
                limits=limits,
                latches=tuple(self._latches),
                invariants=invariants,
                lists=declared.lists(policy),
                embedding=embedding,
                tenants={tenant.name: tenant for tenant in tenants},
                budgets=budgets,
                budget_wait_us=declared.BUDGET_WAIT_US if wait_us is None else wait_us,
                cache=cache,
                strict=policy.parameters == STRICT,
                breaking=declared.breaking(policy),
            ),
            findings,
        )

    # --- names and domains -----------------------------------------------------------------------

    def _with_domains(self) -> Mapping[str, Attribute]:
        attributes = dict(self._schema.attributes)
        for name, words in self._policy.attributes.items():
            span = self._place_of_domain(name, words)
            attribute = attributes.get(name)
            if attribute is None:
                help = suggestion(name, attributes) or "only attributes of the table can be listed"
                self._error("RP101", f"unknown attribute `{name}`", span, help)
            elif name in _NOT_DECLARED:
                message = f"the values of `{name}` cannot be declared"
                self._error("RP111", message, span, _NOT_DECLARED[name])
            elif attribute.type is not Type.TEXT or attribute.parameter is not Parameter.NONE:
                self._error(
                    "RP111",
                    f"the values of `{name}` cannot be declared",
                    span,
                    "only attributes that are text can, such as `tier`, `tenant` and `team`",
                )
            else:
                values = [word.value for word in words]
                # A caller without one has `default`, so it belongs to every domain.
                if attribute.always_known and DEFAULT not in values:
                    values.append(DEFAULT)
                attributes[name] = replace(
                    attribute, type=Type.ENUM, domain=tuple(dict.fromkeys(values))
                )
        return attributes

    def _place_of_domain(self, name: str, words: tuple[tree.Text, ...]) -> Span:
        """The key of a declared domain: it stands before its first word."""
        span = self._policy.key_spans.get("attributes", self._policy.source_span)
        if words:
            source = words[0].span.source
            start = source.text.rfind(name, span.start, words[0].span.start)
            if start >= 0:
                return Span(source, start, start + len(name))
        return span

    def _check_names(self) -> None:
        taken = {*self._attributes, *ALIASES, *FUNCTIONS, *WEEKDAYS, REQUESTED}
        for definition in self._policy.definitions:
            if definition.name.value in taken:
                self._error(
                    "RP004",
                    f"`{definition.name.value}` has a meaning already",
                    definition.name.span,
                    "choose another name",
                )

    def _check_timezone(self) -> None:
        zone = self._policy.timezone
        if zone is None or zone.value in timezones():
            return
        city = f"/{zone.value.replace(' ', '_')}".lower()
        of_city = next((name for name in sorted(timezones()) if name.lower().endswith(city)), None)
        help = f"write `{of_city}`" if of_city else suggestion(zone.value, timezones())
        self._error(
            "RP010",
            f"unknown timezone `{zone.value}`",
            zone.span,
            help or "write a name such as `Europe/Berlin` or `UTC`",
        )

    def _models(self) -> Iterator[tuple[str, str | None]]:
        for entry in self._policy.models:
            to = entry.to.value
            if to == THE_POLICY:
                yield entry.name.value, None
            elif to == REQUESTED or nearest(to, (THE_POLICY,)):
                message = f"`{to}` is nothing that a model can stand for"
                help = "write a target such as `openai/gpt-4`, or `policy`"
                if to != REQUESTED:
                    help = f"did you mean `{THE_POLICY}`?"
                self._error("RP301", message, entry.to.span, help)
            elif self._resolve(entry.to):
                yield entry.name.value, to

    def _look_up(self, name: tree.Text) -> None:
        """A target that is declared: it has to be known or priced, even if no route names it."""
        try:
            self._targets.declared(name.value, name.span)
        except Refused as refused:
            self._take(refused.diagnostic)

    def _resolve(self, name: tree.Text) -> bool:
        if name.value == REQUESTED:
            return True
        if self._is_full:
            return False
        try:
            self._targets.resolve_priced(name.value, name.span)
        except Refused as refused:
            self._take(refused.diagnostic)
            return False
        return True

    def _error(self, code: str, message: str, span: Span, help: str | None) -> None:
        self._take(Diagnostic(code, "error", message, span, help))

    def _take(self, finding: Diagnostic) -> None:
        self._findings.append(finding)
        self._errors += finding.severity == "error"

    @property
    def _is_full(self) -> bool:
        """Whether more errors would say nothing new; each costs a search for what was meant."""
        return self._errors >= MAX_FINDINGS

    # --- clauses ---------------------------------------------------------------------------------

    def _check_routes(self) -> None:
        """What is wrong with the targets and shares of routes, fallbacks and mirrors."""
        for rule in self._policy.rules:
            if not self._is_full:
                for finding in form_of(rule.route).check(self._targets):
                    self._take(finding)
                    if self._is_full:
                        break
            for entry in rule.fallback or ():
                self._resolve(entry.to)
            if rule.extra.mirror is not None:
                self._check_mirror(rule.extra.mirror)
        default = self._policy.rule_defaults.mirror
        if default is not None:
            self._check_mirror(default)
        for entry in self._policy.fallback_chain:
            self._resolve(entry.to)

    def _check_mirror(self, mirror: tree.MirrorEntry) -> None:
        to = mirror.to
        if to.value == REQUESTED or nearest(to.value, (REQUESTED,)):
            self._error(
                "RP301",
                f"a copy goes to one target, and `{to.value}` is none",
                to.span,
                "name the target to compare with, such as `openai/gpt-4`",
            )
        else:
            self._resolve(to)

    def _clause(self, index: int, rule: tree.Rule) -> Clause:
        form = form_of(rule.route)
        before = len(self._scope.findings)
        test = self._term(rule.condition, Place(form.target))
        options = _over(rule.extra, self._policy.rule_defaults)
        if options.hold_us is not None:
            test = self._held(test, rule, options.hold_us)
        plan = self._plan(rule, form, options)
        if isinstance(rule.route, tree.ChoiceRoute):
            self._say_once(before)
        if test is None:
            applies = self._guard
        elif "request_type" in reads([test]):
            applies = test
        else:
            applies = And((self._guard, test))
        return Clause(
            index,
            rule.name.value,
            test,
            applies,
            plan,
            reads([applies]),
            rule.span,
            tuple(tag.value for tag in options.tags or ()),
            options.expires,
        )

    def _plan(self, rule: tree.Rule, form: Form, options: tree.RuleOptions) -> Plan:
        lowering = Lowering(rule, self._policy.defaults, self._scope, self._term, self._take)
        route = form.lower(lowering)
        fallback = None if rule.fallback is None else tuple(self._hops(rule.fallback))
        if isinstance(route, Reject):
            return Plan(route, ())
        mirror = None
        if options.mirror is not None:
            entry = options.mirror
            bucket = lowering.read("bucket.request", f"{rule.name.value}.mirror")
            sample = Const(entry.sample, Type.NUMBER)
            to = hop(entry.to.value, tree.HopOptions(), self._policy.defaults, None, entry.to)
            mirror = Mirror(to, Compare("<", bucket, sample), entry.span)
        sets = {field.value: value for field, value, _ in options.sets or ()}
        return Plan(route, fallback, sets, mirror)

    def _held(self, test: Term | None, rule: tree.Rule, hold_us: int) -> Term | None:
        def read(argument: str) -> Read:
            return attribute_read("held", self._scope, argument)

        held: Term | None = None
        latches: tuple[Latch, ...] = ()
        if test is not None:
            held, latches = hold(test, rule.name.value, hold_us, self._scope.slots, read)
        elif rule.condition is not None:
            return None  # refused already
        self._latches += latches
        if not latches and rule.extra.hold_us is not None:
            self._findings.append(
                warning(
                    "RP010",
                    "there is nothing to hold here: the condition compares no live value of a "
                    "named target",
                    rule.extra.spans.get("hold", rule.name.span),
                    'remove `hold`, or name the target, such as `p95("openai/gpt-4") > 8s`',
                )
            )
        return held

    def _say_once(self, before: int) -> None:
        """A `where` is read for each candidate; what is said of it is said once."""
        fresh = self._scope.findings[before:]
        self._scope.findings[before:] = list(dict.fromkeys(fresh))

    def _hops(self, entries: Iterable[tree.HopEntry]) -> Iterator[Hop]:
        for entry in entries:
            when = None
            if entry.when is not None:
                when = self._term(entry.when, Place(entry.to.value))
            yield hop(entry.to.value, entry.options, self._policy.defaults, when, entry.to)

    def _term(self, expression: tree.Expression | None, place: Place) -> Term | None:
        if expression is None or self._is_full:
            return None
        try:
            term = infer(expression, self._scope, place)
        except Poisoned:
            return None
        if isinstance(term, Diagnostic):
            self._take(term)
            return None
        return term

    def _slots(self, terms: list[Term]) -> Mapping[str, Slot]:
        request_type = Slot("request_type", self._attributes["request_type"], None)
        known = {"request_type": request_type} | self._scope.slots
        keys = (key for key in reads(terms) if not key.startswith(PREFIX))
        return {key: known[key] for key in keys}


def _over(own: tree.RuleOptions, defaults: tree.RuleOptions) -> tree.RuleOptions:
    """A rule's options, each over the default of the file as a whole."""
    return tree.RuleOptions(
        hold_us=defaults.hold_us if own.hold_us is None else own.hold_us,
        sets=defaults.sets if own.sets is None else own.sets,
        mirror=defaults.mirror if own.mirror is None else own.mirror,
        expires=defaults.expires if own.expires is None else own.expires,
        tags=defaults.tags if own.tags is None else own.tags,
        spans=own.spans,
    )


def token_cuts(terms: Iterable[Term]) -> tuple[int, ...] | None:
    """The sorted constants that `tokens` is compared with; None where the exact count is needed."""
    cuts: set[int] = set()
    for term in leaves_first(terms):
        match term:
            case Named() | Known():
                continue
            case Compare(_, left, right) if _is_tokens(left) != _is_tokens(right):
                constant = _plain(right if _is_tokens(left) else left)
                if not isinstance(constant, Const) or not isinstance(constant.value, int):
                    return None
                cuts.add(constant.value)
            case Member(operand, values) if _is_tokens(operand):
                cuts.update(value for value in values if isinstance(value, int))
            case _ if any(_is_tokens(child) for child in children(term)):
                return None
    return tuple(sorted(cuts))


def _plain(term: Term) -> Term:
    while isinstance(term, Named):
        term = term.operand
    return term


def _is_tokens(term: Term) -> bool:
    plain = _plain(term)
    return isinstance(plain, Read) and plain.key == "tokens"
