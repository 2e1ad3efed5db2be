"""The targets a policy may name: its own providers and `targets:` laid over the catalogue.

What a target costs is data here; how a cost is computed from it is `cost`'s business.

Over 300 lines because what is declared, what is catalogued and which is meant are one look-up.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from . import tree
from .core import REQUESTED, Provider
from .diagnostic import Diagnostic
from .habits import KINDS
from .nearest import misspelt, nearest, suggestion
from .refusal import Poisoned, Refused
from .schema import Expected, Schema, Target, Tariff
from .source import Span

PRICE_HELP = "write `price: {input: $1/Mtok, output: $2/Mtok}` under `targets:`, or `price: 0`"
STRICT = "strict"
FREE = Tariff(input=0, output=0)
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Targets:
    """Resolves names, each once, and remembers what was resolved.

    `found` holds every target that was resolved, by its name as written; `refused` the names that
    were refused to a route.
    """

    def __init__(self, policy: tree.Policy, schema: Schema) -> None:
        """Lay the policy's entries over the catalogue."""
        self.found: dict[str, Target] = {}
        self.refused: set[str] = set()
        self._schema = schema
        self._written = {entry.name.value: entry for entry in policy.targets}
        self._own: dict[str, tree.ProviderEntry] = {e.name.value: e for e in policy.providers}
        self._models = {entry.name.value: entry.to.value for entry in policy.models}
        self._requestable: Mapping[str, Target] | None = None

    @property
    def providers(self) -> Mapping[str, Provider]:
        """Every provider that can be reached, the policy's own ones first."""
        entries = {
            name: Provider(
                name,
                entry.kind.value if entry.kind else name,
                entry.base_url.value if entry.base_url else None,
                {header: text.value for header, text in entry.headers.items()},
                variables(entry),
            )
            for name, entry in self._own.items()
        }
        known = {name: Provider(name, name, None, {}) for name in self._schema.providers}
        return entries | {name: known[name] for name in known if name not in entries}

    def problems(self) -> list[Diagnostic]:
        """What is wrong with the `providers:` entries themselves."""
        found: list[Diagnostic] = []
        kinds = (*self._schema.kinds, *self._schema.providers)
        for name, entry in self._own.items():
            kind = entry.kind.value if entry.kind else name
            if entry.kind is None and name not in self._schema.providers:
                found.append(
                    Diagnostic(
                        "RP301",
                        "error",
                        f"`{name}` is no known provider, and nothing says how to talk to it",
                        entry.name.span,
                        suggestion(name, self._schema.providers)
                        or f"write `{name}: {{kind: openai, base_url: …}}`",
                    )
                )
            elif entry.kind is not None and kind not in kinds:
                found.append(
                    Diagnostic(
                        "RP301",
                        "error",
                        f"unknown kind of provider `{kind}`",
                        entry.kind.span,
                        _meant_kind(kind, kinds),
                    )
                )
            elif entry.base_url is None and (name not in self._schema.providers or kind != name):
                # The kind's own address is another company's, or another machine's.
                found.append(
                    Diagnostic(
                        "RP008",
                        "error",
                        f"`{name}` needs a `base_url`",
                        entry.name.span,
                        "write where it is, such as `base_url: https://host.example/v1`",
                    )
                )
        return found

    def resolve(self, name: str, span: Span) -> Target:
        """The target of a name as written. Raises: Refused RP301."""
        if name not in self.found:
            self.found[name] = self._look_up(name, span)
        return self.found[name]

    def declared(self, name: str, span: Span) -> Target:
        """The target of an entry of `targets:`. Raises: Refused RP301, RP331.

        An entry without a price for a name that nobody knows can never be used: it is misspelt.
        """
        target = self.resolve(name, span)
        if target.tariff is None and self._schema.catalog.find(name) is None:
            self.refused.add(name)
            close = self._schema.catalog.close_to(name)
            help = f"did you mean `{close}`?" if close else PRICE_HELP
            raise Refused("RP331", f"no price is known for `{name}`", span, help)
        return target

    def resolve_priced(self, name: str, span: Span) -> Target:
        """The target of a name, fit for calls. Raises: Refused RP301, RP331, RP333."""
        try:
            return self._fit(name, span)
        except Refused:
            self.refused.add(name)
            raise

    def _fit(self, name: str, span: Span) -> Target:
        target = self.resolve(name, span)
        if target.tariff is None:
            help = None if name in self._written else suggestion(name, self._known_like(name))
            raise Refused("RP331", f"no price is known for `{name}`", span, help or PRICE_HELP)
        is_free = not _is_paid(target.tariff)
        if not is_free and target.context_window is None and target.max_output is None:
            raise Refused(
                "RP333",
                f"`{name}` has a price, but nothing bounds how much of it one call can use",
                span,
                "write `context_window:` or `max_output:` for it under `targets:`",
            )
        return target

    def tariff(self, target: Target, span: Span) -> Tariff:
        """What a target's tokens cost.

        Raises: Refused RP331; Poisoned where a route was refused for it already.
        """
        if target.id in self.refused:
            raise Poisoned(target.id)
        if target.tariff is None:
            raise Refused("RP331", f"no price is known for `{target.id}`", span, PRICE_HELP)
        return target.tariff

    def requestable(self) -> Mapping[str, Target]:
        """What clients may ask for by the built-in names; added to what was found."""
        if self._requestable is None:
            self._requestable = self._schema.catalog.requestable(sorted(self.providers))
            for target in self._requestable.values():
                self.found.setdefault(target.id, target)
        return self._requestable

    def _look_up(self, name: str, span: Span) -> Target:
        provider, slash, model = name.partition("/")
        if not slash or not provider or not model:
            word = nearest(name, (REQUESTED,))
            raise Refused(
                "RP301",
                f"`{name}` is no target",
                span,
                self._stands_for(name)
                or (f"did you mean `{word}`?" if word else self._guess(name))
                or "write `provider/model`, such as `openai/gpt-4`",
            )
        own = self._own.get(provider)
        if own is None and provider not in self._schema.providers:
            known = {*self._own, *self._schema.providers}
            close = nearest(provider, known)
            meant = f"{close}/{model}"
            is_good = close in self._own or self._schema.providers.get(str(close), False)
            is_good = is_good or self._schema.catalog.find(meant) is not None
            row = self._schema.catalog.find(name)
            is_priced = name in self._written or (row is not None and row.tariff is not None)
            declare = f"declare `{provider}` under `providers:` with `kind` and `base_url`" + (
                "" if is_priced else ", and its price under `targets:`"
            )
            # The price list may have another word for a provider that is known here.
            ours = self._schema.catalog.close_to(name) or name
            is_ours = ours != name and ours.partition("/")[2] == model
            guess = f"did you mean `{ours}`?" if is_ours else None
            if row is None and guess is None:
                guess = self._guess(name) or (close and self._guess(meant))
            raise Refused(
                "RP301",
                f"unknown provider `{provider}`",
                span,
                f"did you mean `{meant}`?" if close and is_good else guess or declare,
            )
        written = self._written.get(name)
        kind = own.kind.value if own is not None and own.kind else provider
        is_free = self._schema.providers.get(kind, False)
        base = self._schema.catalog.find(name)
        if base is not None:
            base = replace(base, id=name)
        elif written is not None or is_free or (own is not None and own.kind is not None):
            if written is None and is_free:
                self._refuse_misspelt(name, span)
            base = Target(name, provider, model, None)
        else:
            raise Refused(
                "RP301",
                f"unknown target `{name}`",
                span,
                self._guess(name) or "declare it under `targets:` with a `price`",
            )
        if base.tariff is None and is_free:
            base = replace(base, tariff=FREE)
        return base if written is None else _overlay(base, written)

    def _refuse_misspelt(self, name: str, span: Span) -> None:
        """Whoever answers for free has any model; one letter from a known name is that name."""
        close = misspelt(name, self._known_like(name))
        if close is not None:
            raise Refused(
                "RP301",
                f"unknown target `{name}`",
                span,
                f"did you mean `{close}`? declare `{name}` under `targets:` if not",
            )

    def _stands_for(self, name: str) -> str | None:
        """What to write for a name that clients ask by: it leads to one target, never further."""
        met = {name}
        to = self._models.get(name)
        while to in self._models and to not in met:
            met.add(to)
            to = self._models[to]
        if to is None or "/" not in to or to in met:
            return None
        return f"`models:` is for clients alone: write `{to}`"

    def _guess(self, name: str) -> str | None:
        known = self._known_like(name)
        # What the catalogue finds alike may be more edits away: another provider's same model.
        far = f"did you mean `{known[-1]}`?" if len(known) > len(self._written) else None
        return suggestion(name, known) or far

    def _known_like(self, name: str) -> tuple[str, ...]:
        """The declared targets, and last the one of the catalogue that is most like a name."""
        listed = self._schema.catalog.close_to(name)
        return (*self._written, *((listed,) if listed else ()))


def variables(entry: tree.ProviderEntry) -> dict[str, Span]:
    """The variables that a provider's address and headers name, with the first place of each."""
    found: dict[str, Span] = {}
    address = () if entry.base_url is None else (entry.base_url,)
    for text in (*address, *entry.headers.values()):
        for match in VARIABLE.finditer(text.span.excerpt):
            start = text.span.start + match.start()
            found.setdefault(match[1], Span(text.span.source, start, start + len(match[0])))
    return found


def _meant_kind(kind: str, kinds: tuple[str, ...]) -> str:
    """What to write for an unknown kind of provider."""
    word = "".join(filter(str.isalnum, kind)).lower()
    meant = word if word in kinds else KINDS.get(word)
    if meant in kinds:
        return f"write `kind: {meant}`"
    every = ", ".join(f"`{one}`" for one in sorted(set(kinds)))
    return suggestion(kind, kinds) or f"kinds are {every}"


def _overlay(base: Target, entry: tree.TargetEntry) -> Target:
    expected = Expected(
        base.expected.p95_us if entry.expected_p95_us is None else entry.expected_p95_us,
        base.expected.ttft_us if entry.expected_ttft_us is None else entry.expected_ttft_us,
        base.expected.output if entry.expected_output is None else entry.expected_output,
    )
    window = entry.context_window
    output = entry.max_output
    return replace(
        base,
        tariff=base.tariff if entry.price is None else _tariff(entry.price, base.tariff, entry),
        context_window=base.context_window if window is None else window,
        max_output=base.max_output if output is None else output,
        region=base.region if entry.region is None else entry.region,
        expected=expected,
        abilities={**base.abilities, **entry.abilities},
        owner=base.owner if entry.owner is None else entry.owner,
        tags=tuple(tag.value for tag in entry.tags) or base.tags,
        strict=None if entry.parameters is None else entry.parameters == STRICT,
        concurrency=entry.concurrency,
    )


def _tariff(price: tree.Price, base: Tariff | None, entry: tree.TargetEntry) -> Tariff:
    """A written price; what it leaves out of input and output is the catalogue's.

    A written price replaces the other fields: a deal's cached rate is not that of the list price.
    """
    rates: dict[str, int] = {}
    for key, written in (("input", price.input), ("output", price.output)):
        known = written if written is not None or base is None else getattr(base, key)
        if known is None:
            raise Refused(
                "RP331",
                f"the price of `{entry.name.value}` has no `{key}` rate",
                entry.name.span,
                f"write `price: {{…, {key}: $1/Mtok}}`, or `{key}: $0/Mtok`",
            )
        rates[key] = known
    tariff = Tariff(
        rates["input"], rates["output"], price.cached, price.cache_write, price.request or 0
    )
    steps = tuple((tokens, _tariff(step, tariff, entry)) for tokens, step in _steps(price))
    return replace(tariff, above=steps)


def _steps(price: tree.Price) -> list[tuple[int, tree.Price]]:
    steps = sorted(price.above, key=lambda step: step[0])
    return [(tokens, replace(step, above=())) for tokens, step in steps]


def _is_paid(tariff: Tariff) -> bool:
    rates = (tariff.input, tariff.output, tariff.cached, tariff.cache_write, tariff.request)
    return any(rates) or any(_is_paid(step) for _, step in tariff.above)
