"""What routes name and what clients ask for: providers, targets with their prices, models.

Credentials have no place in a policy: what looks like one is refused, and never repeated.

What does not belong here: whether a name is known and priced (`targets`).

Over 300 lines because a model declares what a target does, and the two become one.
"""

import re
from dataclasses import fields, replace

from . import traps, tree
from .diagnostic import Related
from .document import Entry, Hole, MapNode, Node, ScalarNode
from .draft import Draft, start_of
from .source import Span
from .vocabulary import (
    ABILITIES,
    EXPECTED,
    MODEL,
    PARAMETERS,
    PRICE,
    PRICE_STEP,
    PROVIDER,
    TARGET,
    Section,
)

_VARIABLE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")
_SECRET = re.compile(
    r"(?:Bearer|Basic|Token)\s+\S|\b(?:sk|pk|rk|gsk|xai|hf|ghp|gho|glpat|key|AKIA|AIza|eyJ)"
    r"[-_A-Za-z0-9]{8,}",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"authorization|cookie|secret|token|password|(?:^|-)key$", re.IGNORECASE)
_CREDENTIAL = re.compile(
    r"(?:api[-_]?)?(?:key|token)|secret|password|credentials?|(?:access|auth)[-_](?:key|token)",
    re.IGNORECASE,
)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


# --- providers -----------------------------------------------------------------------------------


def providers(draft: Draft, node: Node) -> tuple[tree.ProviderEntry, ...]:
    """The entries of `providers`."""
    found: list[tree.ProviderEntry] = []
    for entry in draft.entries(node, "`providers`") or ():
        name = tree.Text(entry.key.text, entry.key.span)
        empty = isinstance(entry.value, ScalarNode) and entry.value.is_null
        section = PROVIDER.called(f"the provider `{traps.shown(name.value)}`")
        written = _without_keys(draft, name, entry.value)
        values = {} if empty else draft.section(written, section)
        if values is None:
            continue
        if "/" in name.value:
            help = "write the provider alone, its models under `targets:`"
            draft.find("RP010", f"`{traps.shown(name.value)}` names a target", name.span, help)
        kind = draft.text(values["kind"], "`kind`") if "kind" in values else None
        url = draft.text(values["base_url"], "`base_url`") if "base_url" in values else None
        if url is not None:
            _base_url(draft, url, (name if kind is None else kind).value)
        headers = _headers(draft, values["headers"]) if "headers" in values else {}
        span = entry.key.span.to(entry.value.span)
        found.append(tree.ProviderEntry(name, kind, url, headers, span))
    return tuple(found)


def _without_keys(draft: Draft, provider: tree.Text, node: Node) -> Node:
    """A provider's entry without its credential, which has no place in the file."""
    if not isinstance(node, MapNode):
        return node
    kept: list[Entry] = []
    word = "".join(c if c.isalnum() else "_" for c in provider.value).upper()
    help = f"remove it, and set `{word}_API_KEY` where the gateway runs"
    for entry in node.entries:
        key = entry.key.text
        if not _CREDENTIAL.fullmatch(key):
            kept.append(entry)
        elif isinstance(entry.value, ScalarNode) and _VARIABLE.fullmatch(entry.value.text):
            message = f"`{traps.shown(key)}` does not stand in the policy"
            draft.find("RP005", message, entry.key.span, help)
        elif not isinstance(entry.value, Hole):
            message = f"`{traps.shown(key)}` holds a secret in plain text"
            draft.find("RP007", message, entry.value.span, help)
    return MapNode(tuple(kept), node.span)


def _variables(draft: Draft, text: tree.Text) -> None:
    """Warn of variables that the gateway reads only if its operator allows it."""
    for match in _VARIABLE.finditer(text.span.excerpt):
        name = match[0][2:-1]
        if not name.startswith("TURNOUT_VAR_"):
            start = text.span.start + match.start()
            draft.find(
                "RP010",
                f"the gateway reads `{name}` only if its operator lists it in "
                "`TURNOUT_POLICY_VARS`",
                Span(text.span.source, start, start + len(match[0])),
                f"name it `TURNOUT_VAR_{name}`, or see that it is listed",
                severity="warning",
            )


def _base_url(draft: Draft, url: tree.Text, kind: str) -> None:
    _variables(draft, url)
    scheme, separator, rest = url.value.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        if not url.value.startswith("${"):
            help = "write the whole address, such as `https://api.example.com/v1`"
            draft.find("RP010", "`base_url` is not a web address", url.span, help)
    written = _VARIABLE.sub("", rest)
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority or _SECRET.search(written):
        _secret(draft, "this address", url.span)
    elif (mark := next((mark for mark in "?#" if mark in written), None)) is not None:
        help = "end it before; what the server wants beside a path goes into `headers`"
        if kind == "azure" and "api-version" in written:
            help = "end it before: the gateway adds `api-version` where the address needs it"
        draft.find("RP010", f"`base_url` is a prefix, with no `{mark}` in it", url.span, help)
    elif separator and not authority:
        help = "write the whole address, such as `https://api.example.com/v1`"
        draft.find("RP010", "`base_url` names no host", url.span, help)


def _headers(draft: Draft, node: Node) -> dict[str, tree.Text]:
    found: dict[str, tree.Text] = {}
    for entry in draft.entries(node, "`headers`") or ():
        name = entry.key.text
        text = draft.text(entry.value, f"the header `{traps.shown(name)}`")
        if text is None:
            continue
        if not _HEADER_NAME.fullmatch(name) or not text.value.isascii():
            message = f"`{traps.shown(name)}` cannot be a header"
            help = "write names and values in plain ASCII letters"
            draft.find("RP010", message, entry.key.span, help)
        literal = _VARIABLE.sub("", text.value).strip()
        bare = re.sub(r"(?i)^(?:bearer|basic|token)\b", "", literal).strip()
        if (bare and _SECRET_NAME.search(name)) or _SECRET.search(literal):
            _secret(draft, "this header", text.span)
        _variables(draft, text)
        found[name] = text
    return found


def _secret(draft: Draft, what: str, span: Span) -> None:
    help = "write `${TURNOUT_VAR_NAME}` and set that variable where the gateway runs"
    draft.find("RP007", f"{what} holds a secret in plain text", span, help)


# --- targets and models --------------------------------------------------------------------------


def targets(draft: Draft, node: Node) -> tuple[tree.TargetEntry, ...]:
    """The entries of `targets`."""
    found: list[tree.TargetEntry] = []
    for entry in draft.entries(node, "`targets`") or ():
        name = tree.Text(entry.key.text, entry.key.span)
        empty = isinstance(entry.value, ScalarNode) and entry.value.is_null
        section = TARGET.called(f"the target `{traps.shown(name.value)}`")
        values = {} if empty else draft.section(entry.value, section)
        if values is not None:
            span = entry.key.span.to(entry.value.span)
            found.append(_target(draft, name, values, span))
    return tuple(found)


def models(
    draft: Draft, node: Node
) -> tuple[tuple[tree.ModelEntry, ...], tuple[tree.TargetEntry, ...]]:
    """The entries of `models`, and what some of them declare of their targets."""
    found: list[tree.ModelEntry] = []
    declared: list[tree.TargetEntry] = []
    for entry in draft.entries(node, "`models`") or ():
        key = tree.Text(entry.key.text, entry.key.span)
        if not isinstance(entry.value, MapNode):
            to = draft.text(entry.value, "what a model stands for")
            if to is not None:
                found.append(tree.ModelEntry(key, to, key.span.to(to.span)))
            continue
        before = len(draft.findings)
        what = f"the model `{traps.shown(key.value)}`"
        values = draft.section(entry.value, MODEL.called(what)) or {}
        if len(draft.findings) == before:
            help = "write `target: provider/model`"
            draft.missing(values, "target", what, start_of(entry.value), help)
        to = draft.text(values["target"], "`target`") if "target" in values else None
        span = key.span.to(entry.value.span)
        own = _target(draft, to or key, values, span)
        if to is not None:
            found.append(tree.ModelEntry(key, to, span))
            if values.keys() - {"target"}:
                declared.append(own)
    return tuple(found), tuple(declared)


def united(
    draft: Draft, written: tuple[tree.TargetEntry, ...], short: tuple[tree.TargetEntry, ...]
) -> tuple[tree.TargetEntry, ...]:
    """The targets as if all that models declare of them stood under `targets`.

    Two that say different things of the same target are a finding.
    """
    merged = {entry.name.value: entry for entry in written}
    for entry in short:
        known = merged.get(entry.name.value)
        merged[entry.name.value] = entry if known is None else _union(draft, known, entry)
    return tuple(merged.values())


_FACTS = tuple(
    field.name for field in fields(tree.TargetEntry) if field.name not in ("name", "span")
)


def _union(draft: Draft, first: tree.TargetEntry, second: tree.TargetEntry) -> tree.TargetEntry:
    merged: dict[str, object] = {}
    for name in _FACTS:
        one, other = getattr(first, name), getattr(second, name)
        if name == "abilities":
            differ = any(one[key] != other[key] for key in one.keys() & other.keys())
            merged[name] = {**other, **one}
        else:
            differ = bool(one not in (None, ()) and other not in (None, ()) and one != other)
            merged[name] = other if one in (None, ()) else one
        if differ:
            shown = name.removesuffix("_us").replace("expected_", "expected.")
            draft.find(
                "RP004",
                f"`{shown}` of `{traps.shown(first.name.value)}` is written twice, and differs",
                second.name.span,
                "write it once, under `targets:`",
                related=(Related("the other is written here", first.name.span),),
            )
    return replace(first, **merged)  # type: ignore[arg-type]


def _target(draft: Draft, name: tree.Text, values: dict[str, Node], span: Span) -> tree.TargetEntry:
    expected: dict[str, Node] = {}
    if "expected" in values:
        expected = draft.section(values["expected"], EXPECTED) or {}
    region = draft.text(values["region"], "`region`") if "region" in values else None
    owner = draft.text(values["owner"], "`owner`") if "owner" in values else None
    tags = draft.texts(values["tags"], "`tags`", "a tag") if "tags" in values else ()
    counts = {
        key: draft.count(values[key], f"`{key}`")
        for key in ("context_window", "max_output", "concurrency")
        if key in values
    }
    clocks = {
        key: draft.duration_us(expected[key], f"`{key}`")
        for key in ("p95", "ttft")
        if key in expected
    }
    output = None
    if "output" in expected:
        output = draft.count(expected["output"], "`output`", least=0)
    parameters = None
    if "parameters" in values:
        parameters = draft.word(values["parameters"], "treatment of parameters", PARAMETERS)
    abilities: dict[str, bool] = {}
    for ability in ABILITIES:
        flag = draft.flag(values[ability], f"`{ability}`") if ability in values else None
        if flag is not None:
            abilities[ability] = flag
    return tree.TargetEntry(
        name=name,
        price=_price(draft, values["price"], PRICE) if "price" in values else None,
        context_window=counts.get("context_window"),
        max_output=counts.get("max_output"),
        region=region.value if region else None,
        expected_p95_us=clocks.get("p95"),
        expected_ttft_us=clocks.get("ttft"),
        expected_output=output,
        abilities=abilities,
        span=span,
        owner=owner.value if owner else None,
        tags=tags,
        parameters=parameters.value if parameters else None,
        concurrency=counts.get("concurrency"),
    )


def _price(draft: Draft, node: Node, section: Section) -> tree.Price | None:
    if isinstance(node, ScalarNode):
        if node.text in ("0", "$0", "$0/Mtok"):
            return tree.Price(input=0, output=0)
        help = "write `0`, or `{input: $2.50/Mtok, output: $10/Mtok}`"
        if node.is_null:
            draft.find("RP008", "`price` is empty", node.span, help)
        else:
            message = f"`{traps.shown(node.text)}` does not say what it is the price of"
            draft.find("RP009", message, node.span, help)
        return None
    values = draft.section(node, section)
    if values is None:
        return None
    rates = {
        key: draft.rate(values[key], f"`{key}`")
        for key in ("input", "output", "cached", "cache_write")
        if key in values
    }
    request = draft.money(values["request"], "`request`") if "request" in values else None
    steps: dict[int, tree.Price] = {}
    for entry in draft.entries(values["above"], "`above`") or () if "above" in values else ():
        tokens = draft.count(entry.key, "a step of `above`")
        step = _price(draft, entry.value, PRICE_STEP)
        if tokens in steps:
            message = f"the step `{traps.shown(entry.key.text)}` is written twice"
            draft.find("RP004", message, entry.key.span, "keep one of the two")
        elif tokens is not None and step is not None:
            steps[tokens] = step
    return tree.Price(**rates, request=request, above=tuple(sorted(steps.items())))
