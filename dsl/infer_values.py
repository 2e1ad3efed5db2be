"""Names, keys in brackets and calls: which value of a snapshot, a target or the file is meant.

Over 300 lines because each way to name a value is refused beside the others, each with its fix.
"""

import re

from . import habits, tree
from .agree import ORDERED, agree, no_size, shown
from .core import REQUESTED, Arithmetic, Const, Known, Named, Read, Term
from .facts import FACTS, PREFIX, TAG
from .infer_targets import cost, live, of_target, only, target_name, worst_case
from .keys import ALIASES
from .nearest import MOST_LISTED, listed, suggestion
from .pattern import problem
from .reading import Reading, takes
from .refusal import Poisoned, Refused
from .schema import WEEKDAYS, Attribute, Parameter, Type
from .scope import FUNCTIONS, ROUTE, TAGS
from .source import Span
from .units import quote

CREDENTIALS = frozenset(
    {
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "x-turnout-key",
        "cookie",
        "set-cookie",
    }
)

_DOTTED = re.compile(r"(header|meta)s?\.([A-Za-z0-9][\w.-]*)")
_ASKED_WITH_TEXT = (Parameter.SALT, Parameter.LIST, Parameter.PATTERN, Parameter.BUDGET)
_KEYED = (Parameter.HEADER, Parameter.META)
# What is shown of all that can be read where nothing is like the word that was written.
_COMMON = (
    "tokens", "messages", "model", "stream", "has_tools", "has_images", "request_type", "tier",
    "tenant", "team", "time", "weekday",
)  # fmt: skip
_CALLED = (
    "known(tokens)", "max(tokens, 100)", 'cost("openai/gpt-4")', 'p95("openai/gpt-4")',
    'error_rate("openai/gpt-4")', 'healthy("openai/gpt-4")', 'bucket("canary")', 'matches("^fix")',
)  # fmt: skip

# --- names ---------------------------------------------------------------------------------------


def name(reading: Reading, written: tree.Name) -> Term:
    """A bare name: a `let`, an attribute, a fact of the target in question, a weekday."""
    text = written.text
    if text in reading.scope.definitions:
        return definition(reading, written)
    if text == "cost":
        return cost(reading, reading.bare(written), written.span, "cost")
    if text == REQUESTED:
        raise Refused(
            "RP101",
            "`requested` is a target, not a value",
            written.span,
            f'write `latency({REQUESTED})`, or `model == "…"`',
        )
    fact = _fact(reading, written)
    if fact is not None:
        return fact
    if text == ROUTE and reading.place.has_route:
        return Read(ROUTE, Type.TEXT, written.span)
    attribute = reading.attribute(text)
    if attribute is not None and attribute.parameter is Parameter.NONE:
        return reading.slot(attribute, None, written.span)
    if attribute is not None and attribute.parameter is Parameter.TARGET:
        return of_target(reading, attribute, reading.bare(written), written.span)
    if attribute is not None:
        raise Refused(
            "RP101",
            f"`{text}` needs the name of a {_wanted(attribute)}",
            written.span,
            f"write `{takes(attribute)}`",
        )
    if text in WEEKDAYS:
        return Const(WEEKDAYS.index(text), Type.WEEKDAY, written.span)
    dotted = _DOTTED.match(written.span.source.text, written.span.start)
    if dotted is not None and dotted[1] in reading.scope.attributes:
        start = written.span.start
        span = Span(written.span.source, start, start + len(dotted[0]))
        kind = "a header" if dotted[1] == "header" else "metadata"
        help = f'write `{dotted[1]}["{dotted[2]}"]`'
        raise Refused("RP101", f"`{dotted[0]}` is not how {kind} is read", span, help)
    if text == ROUTE or text.removeprefix(PREFIX) in (*FACTS, TAGS):
        raise _misplaced(reading, written)
    if is_nothing(reading, written):
        raise Refused(
            "RP101",
            f"there is no `{text}`: a value that is missing is unknown",
            written.span,
            "write `known(x)` to ask for it, or `x ?? 0` to give a default",
        )
    raise Refused(
        "RP101",
        f"unknown attribute `{text}`",
        written.span,
        _unknown_name_help(reading, text),
    )


def definition(reading: Reading, written: tree.Name) -> Term:
    """A `let` name, with what it stands for below it."""
    text = written.text
    definitions = reading.scope.definitions
    if text in reading.open:
        cycle = " → ".join((*reading.open[reading.open.index(text) :], text))
        raise Refused(
            "RP101",
            f"`{text}` is defined by itself",
            definitions[text].name.span,
            f"break the circle {cycle}",
        )
    if text in reading.scope.poisoned:
        raise Poisoned(text)
    if text not in reading.made:
        size = reading.size
        reading.open.append(text)
        term = reading.value(definitions[text].expression)
        reading.open.pop()
        reading.made[text] = (term, reading.size - size)
    else:
        reading.size += reading.made[text][1]
    term = reading.made[text][0]
    return Named(text, term, term.type, written.span)


def has_tag(reading: Reading, written: tree.Membership) -> Term:
    """`"fast" in tags`: whether the target in question has a tag."""
    assert isinstance(written.collection, tree.Name)
    if not reading.place.has_facts and not reading.is_definition:
        raise _misplaced(reading, written.collection)
    tag = written.operand
    if not isinstance(tag, tree.Literal) or tag.kind != "string":
        raise Refused(
            "RP111",
            "tags are asked for by a text in quotes",
            tag.span,
            'write `"fast" in tags`',
        )
    row = reading.place.row
    span = None if written.negated else written.span
    if row is not None:
        return Const(tag.text in row.tags, Type.BOOL, span)
    return Read(TAG + tag.text, Type.BOOL, span)


def is_tags(collection: tree.Name) -> bool:
    """Whether a collection is the tags of the target in question."""
    return collection.text.removeprefix(PREFIX) == TAGS


def _fact(reading: Reading, written: tree.Name) -> Term | None:
    """A fact of the target in question, where there is one; in a `let` what could be one."""
    place = reading.place
    fact = FACTS.get(written.text.removeprefix(PREFIX))
    if fact is None or not (place.has_facts or reading.is_definition):
        return None
    if not place.has_facts and written.text in reading.scope.attributes:
        return None
    if place.row is not None:
        return Const(fact.of(place.row), fact.type, written.span)
    return Read(PREFIX + fact.name, fact.type, written.span)


def is_nothing(reading: Reading, written: tree.Expression) -> bool:
    """Whether it is what stands for a missing value in other languages."""
    if not isinstance(written, tree.Name) or written.text in reading.scope.definitions:
        return False
    return written.text.lower() in habits.NOTHING


def _misplaced(reading: Reading, written: tree.Name) -> Refused:
    text, beside = written.text, reading.place.facts_beside
    where = "`invariants`" if text == ROUTE else "`require`, `where` and `invariants`"
    if text == ROUTE:
        help = "use `model`, which is what the client asked for"
    elif beside is not None:
        help = f"move it to `{beside}:`, which is about the target"
    else:
        help = "write it under `require:` as a limit, or as the `where` of a choice"
        meant = habits.ATTRIBUTES.get(text)
        help = help if meant is None else f"write `{meant}` if the request is meant; else {help}"
    message = f"`{text}` is about a target, and is known in {where} only"
    return Refused("RP114", message, written.span, help)


def _wanted(attribute: Attribute) -> str:
    return {
        Parameter.HEADER: "header",
        Parameter.META: "tag",
        Parameter.SALT: "salt",
        Parameter.LIST: "list",
        Parameter.PATTERN: "pattern",
        Parameter.BUDGET: "budget",
    }.get(attribute.parameter, "target")


def _unknown_name_help(reading: Reading, text: str) -> str:
    scope = reading.scope
    attributes = [a for name in scope.attributes if (a := reading.attribute(name))]
    truth = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower())
    if truth is not None:
        return f"write `{truth}`"
    if text.capitalize()[:3] in WEEKDAYS and text.lower().endswith("day"):
        return f"weekdays are written `{text.capitalize()[:3]}`"
    for attribute in attributes:
        if attribute.domain and text in attribute.domain:
            return f"write `{quote(text)}`, text stands in quotes"
    if text.lower() in habits.ALWAYS:
        return "remove the condition: a rule without one takes every request"
    if text in scope.lists:
        return f"`{text}` is a list: write `tenant in {text}`"
    known = [a.name for a in attributes]
    known += [*scope.definitions, *ALIASES, "cost", *WEEKDAYS, "true", "false"]
    if reading.place.has_facts:
        known += [*FACTS, TAGS]
    if reading.place.has_route:
        known.append(ROUTE)
    begun = sorted(a.name for a in attributes if a.name.startswith(f"{text}."))
    meant = habits.ATTRIBUTES.get(text.lower())
    if meant is not None and (meant in known or not meant.isidentifier()):
        return f"did you mean `{meant}`?"
    if begun:
        return f"write `{'` or `'.join(takes(a) for a in attributes if a.name in begun)}`"
    close = suggestion(text, known)
    if close is not None:
        return close
    if reading.is_beside_text:
        return f"write `{quote(text)}`, text stands in quotes"
    part = next((part for part in reversed(text.split(".")) if part in known), None)
    if part is not None:
        return f"write `{part}`"
    common = [*(FACTS if reading.place.has_facts else ()), *_COMMON]
    common = [name for name in common if name in known][:MOST_LISTED]
    return f"docs/attributes.md has them all, such as: {listed(common)}"


# --- keys in brackets ----------------------------------------------------------------------------


def index(reading: Reading, written: tree.Index) -> Term:
    """`header["x-team"]`, `meta["project"]`."""
    text = written.name.text
    attribute = reading.attribute(text)
    if attribute is None or attribute.parameter not in _KEYED:
        is_known = attribute is not None or text in reading.scope.definitions
        keyed = [a.name for a in reading.scope.attributes.values() if a.parameter in _KEYED]
        raise Refused(
            "RP101",
            f"`{text}` takes no key in brackets" if is_known else f"unknown attribute `{text}`",
            written.name.span,
            suggestion(text, keyed)
            or (
                f"write `{text if attribute is None else takes(attribute)}` alone"
                if is_known
                else f'only `{"` and `".join(keyed)}` take a key, as in `header["x-team"]`'
            ),
        )
    key = written.key.text.strip().lower()
    if attribute.parameter is Parameter.HEADER and key in CREDENTIALS:
        raise Refused(
            "RP101",
            f"`{shown(written.span)}` is a credential, which no condition may read",
            written.span,
            "use `tenant`, `team` or `user`: they come from the caller's key",
        )
    return reading.slot(attribute, key, written.span)


# --- calls ---------------------------------------------------------------------------------------


def call(reading: Reading, written: tree.Call) -> Term:
    """A function, or an attribute asked with something."""
    text = written.name.text
    if written.part is not None:
        return _part(reading, written, written.part)
    match text:
        case "known":
            operand = only(written)
            before, reading.has_default = reading.has_default, True
            term = reading.value(operand)
            reading.has_default = before
            return Known(term, written.span)
        case "min" | "max":
            return _extreme(reading, written, text)
        case "cost":
            target = target_name(reading, written, only(written))
            return cost(reading, target, written.span, "cost")
        case "worst_case":
            return worst_case(reading, written)
    attribute = reading.attribute(text)
    if attribute is None or attribute.parameter in (Parameter.NONE, *_KEYED, Parameter.BUDGET):
        raise _no_function(reading, written, attribute)
    if attribute.parameter is Parameter.TARGET:
        return live(reading, written, attribute)
    return _asked_with_text(reading, written, attribute, written.span)


def _no_function(reading: Reading, written: tree.Call, attribute: Attribute | None) -> Refused:
    text = written.name.text
    if attribute is not None or text in reading.scope.definitions:
        return Refused(
            "RP102",
            f"`{text}` is a value, not a function",
            written.name.span,
            f"write `{text if attribute is None else takes(attribute)}`"
            + ("" if attribute is not None and attribute.parameter in _KEYED else " alone"),
        )
    functions = _functions(reading)
    value, _, method = text.rpartition(".")
    said = method.lower()
    if reading.attribute(value) is not None and said in {**habits.OPERATORS, **habits.FUNCTIONS}:
        asked = ", ".join(shown(argument.span) for argument in written.arguments)
        test = f"write `{value} {habits.OPERATORS.get(said)} {asked}`"
        return Refused(
            "RP102",
            "values have no functions of their own",
            written.name.span,
            test if said in habits.OPERATORS else habits.FUNCTIONS[said].format(method),
        )
    parts = _parts(reading, text)
    if parts:
        return Refused(
            "RP102",
            f"`{text}` of what part?",
            written.span,
            f"write `{shown(written.span)}.{parts[0]}`; parts are {', '.join(parts)}",
        )
    return Refused(
        "RP102",
        f"unknown function `{text}`",
        written.name.span,
        # `nto (a or b)` reads as a call
        habits.FUNCTIONS[text.lower()].format(text)
        if text.lower() in habits.FUNCTIONS
        else suggestion(text, (*functions, "not"))
        or f"docs/language.md has them all, such as: {listed(_CALLED)}",
    )


def _functions(reading: Reading) -> list[str]:
    names = {*FUNCTIONS}
    for written in (*reading.scope.attributes, *ALIASES):
        attribute = reading.attribute(written)
        if attribute is None or attribute.parameter in (Parameter.NONE, *_KEYED):
            continue
        is_part = attribute.parameter is Parameter.BUDGET
        names.add(written.partition(".")[0] if is_part else written)
    return sorted(names)


def _parts(reading: Reading, whole: str) -> list[str]:
    return sorted(
        attribute.name.partition(".")[2]
        for attribute in reading.scope.attributes.values()
        if attribute.parameter is Parameter.BUDGET and attribute.name.startswith(f"{whole}.")
    )


def _part(reading: Reading, written: tree.Call, part: tree.Name) -> Term:
    """`budget("team").left`."""
    text = written.name.text
    parts = _parts(reading, text)
    if not parts:
        known = {name.partition(".")[0] for name in reading.scope.attributes if "." in name}
        whole = {word for word in known if _parts(reading, word)}
        if text in _functions(reading) or text in reading.scope.definitions:
            without = shown(written.span).removesuffix(f".{part.text}")
            raise Refused("RP102", f"`{text}` has no parts", part.span, f"write `{without}`")
        raise Refused(
            "RP102",
            f"unknown function `{text}`",
            written.name.span,
            suggestion(text, whole) or 'write `budget("team").left`',
        )
    if part.text not in parts:
        raise Refused(
            "RP101",
            f"`{text}` has no part `{part.text}`",
            part.span,
            suggestion(part.text, parts) or f"parts are {', '.join(parts)}",
        )
    attribute = reading.attribute(f"{text}.{part.text}")
    assert attribute is not None
    return _asked_with_text(reading, written, attribute, written.span)


def _asked_with_text(
    reading: Reading, written: tree.Call, attribute: Attribute, span: Span
) -> Term:
    """An attribute asked with a salt, a list, a budget or a pattern."""
    argument = written.arguments[0] if len(written.arguments) == 1 else None
    wanted = _wanted(attribute)
    if argument is None:
        raise Refused(
            "RP102",
            f"`{written.name.text}` takes one {wanted}",
            written.span,
            f"write `{takes(attribute)}`",
        )
    if not isinstance(argument, tree.Literal) or argument.kind != "string":
        raise Refused(
            "RP102",
            f"`{written.name.text}` takes a {wanted} in quotes",
            argument.span,
            f"write `{quote(shown(argument.span))}`",
        )
    match attribute.parameter:
        case Parameter.LIST:
            known_list(reading, argument.text, argument.span)
        case Parameter.PATTERN:
            sound_pattern(argument)
        case Parameter.BUDGET if argument.text not in reading.scope.budgets:
            known = reading.scope.budgets
            raise Refused(
                "RP332",
                f"there is no budget `{argument.text}`",
                argument.span,
                suggestion(argument.text, known)
                or (
                    f"budgets are {listed(sorted(known))}"
                    if known
                    else "write `budgets: [{name: …, scope: team, limit: $20/day}]`"
                ),
            )
        case _:
            pass
    if attribute.fetched and not reading.scope.can_embed:
        raise Refused(
            "RP301",
            f"nothing says what makes the embeddings that `{attribute.name}` compares",
            span,
            "write `embed: {target: openai/text-embedding-3-small, timeout: 300ms}`",
        )
    return reading.slot(attribute, argument.text, span)


def known_list(reading: Reading, text: str, span: Span) -> tree.ListEntry:
    """The list of a name. Raises: Refused RP101."""
    lists = reading.scope.lists
    if text not in lists:
        raise Refused(
            "RP101",
            f"unknown list `{text}`",
            span,
            suggestion(text, lists)
            or (
                f"lists are {listed(sorted(lists))}"
                if lists
                else f"write it down: `lists: {{{text}: [one, other]}}`"
            ),
        )
    return lists[text]


def sound_pattern(literal: tree.Literal) -> None:
    """Refuse a pattern that RE2 does not take. Raises: Refused RP120."""
    wrong = problem(literal.text)
    if wrong is not None:
        raise Refused(
            "RP120",
            f"the pattern `{shown(literal.span)}` cannot be used: {wrong}",
            literal.span,
            "write it as RE2 reads it, without look-around and back references: "
            "`starts_with`, `ends_with` and `has` often say it too",
        )


def _extreme(reading: Reading, written: tree.Call, operator: str) -> Term:
    if len(written.arguments) < 2:
        raise Refused(
            "RP102",
            f"`{operator}` takes two values or more",
            written.span,
            f"write `{operator}(a, b)`",
        )
    first, *rest = written.arguments
    result = reading.value(first)
    for argument in rest:
        result, right = agree(
            reading.scope, result, reading.value(argument), first, argument, written.span
        )
        if result.type not in ORDERED:
            raise no_size(first.span, result.type)
        span = written.span if argument is rest[-1] else None
        kind = "min" if operator == "min" else "max"
        result = Arithmetic(kind, result, right, result.type, span)  # type: ignore[arg-type]
    return result
