"""A policy's text to its tree: which sections there are and what stands in each.

Finds as much as it can in one go: one finding for a condition, then on to the next. Nothing that
is written is ignored: what is not known is an error, and so is what a later version will know.

To add a key: its name in the tuple of its section, and a line where that section is read.

What does not belong here: names, types and targets (`check`); reading single values (`fields`).
Over 300 lines because every section of a policy file is here, one method each.
"""

import re
from collections.abc import Collection

from . import traps, tree
from .diagnostic import Diagnostic, PolicyError, Related, sort
from .document import Entry, Hole, ListNode, MapNode, Node, ScalarNode, examine, hop_form
from .expression import KEYWORDS, parse_scalar, unparse
from .fields import Reader
from .nearest import nearest
from .source import Source, Span

FAULTS = (
    "timeout",
    "ttft_timeout",
    "connect",
    "5xx",
    "overloaded",
    "rate_limit",
    "quota",
    "context_exceeded",
    "content_filter",
    "bad_output",
    "auth",
    "breaker_open",
    "bad_request",
    "unsupported_parameter",
)
"""What `catch` may name; each is the value of a `Fault` of the engine."""

ABILITIES = ("vision", "audio", "tools", "json", "embeddings", "sampling")
"""What a target may be declared able to do, or not."""

MAX_RETRIES = 10

_TOP = (
    "version", "timezone", "attributes", "let", "defaults", "deadline", "providers", "targets",
    "models", "routing_policy", "fallback_chain", "tests",
)  # fmt: skip
_TOP_LATER = (
    "include", "require", "invariants", "budgets", "budget_wait", "tenants", "cache", "embed",
    "lists", "shadow", "parameters",
)  # fmt: skip
_TOP_MEANT = {
    "rules": "routing_policy",
    "routes": "routing_policy",
    "routing": "routing_policy",
    "policy": "routing_policy",
    "fallback": "fallback_chain",
    "fallbacks": "fallback_chain",
    "chain": "fallback_chain",
    "lets": "let",
    "definitions": "let",
    "tz": "timezone",
    "timeout": "deadline",
}
_CLOCKS = ("timeout", "connect", "ttft", "idle")
_DEFAULTS = (*_CLOCKS, "retries")
_OPTIONS = (*_DEFAULTS, "catch")
_ENTRY = ("to", *_OPTIONS, "when")
_ROUTE = ("to", *_OPTIONS)
_HOP_LATER = ("backoff", "hold", "set", "mirror")
_HOP_MEANT = {"target": "to", "model": "to", "route": "to", "condition": "when", "if": "when"}
_RULE = ("name", "condition", "route", *_OPTIONS, "fallback")
_RULE_LATER = ("backoff", "hold", "set", "mirror", "expires", "tags", "where", "require")
_RULE_MEANT = {
    "when": "condition",
    "if": "condition",
    "match": "condition",
    "target": "route",
    "to": "route",
    "model": "route",
    "then": "route",
    "id": "name",
    "rule": "name",
    "fallback_chain": "fallback",
    "on": "catch",
}
_FORMS = (
    "cheapest_of", "fastest_of", "first_of", "split", "reject", "where", "by", "sticky", "ramp",
    "message", "retry_after",
)  # fmt: skip
_TARGET = ("price", "context_window", "max_output", "region", "expected", *ABILITIES)
_TARGET_LATER = ("owner", "tags", "parameters", "target")
_PRICE = ("input", "output", "cached", "cache_write", "request", "above")
_PRICE_LATER = ("image", "audio", "from", "until", "hours")

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ASSIGNED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\s+=(?!=)")
_BESIDE = re.compile(rf"([^\s/]++/\S++)\s++({'|'.join((*_OPTIONS, 'when'))})")
_COMMENT = re.compile(r"[ \t]+(#[ \t]*(.*))")
_GOES_ON = re.compile(r"(?:and|or|not|in|has|starts_with|ends_with)\b|[=<>!+*/&|)\]\"'?]")
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
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NO_OPTIONS = tree.HopOptions()


def parse(source: Source) -> tree.Policy:
    """Read a policy. Raises PolicyError with every error and warning."""
    policy, findings = parse_with_warnings(source)
    if policy is None:
        raise PolicyError(findings)
    return policy


def parse_with_warnings(source: Source) -> tuple[tree.Policy | None, tuple[Diagnostic, ...]]:
    """Read a policy and all findings, sorted; None where one of them is an error. Never raises."""
    document = examine(source)
    reader = Reader()
    reader.findings += document.findings
    if document.root is None:
        return None, sort(reader.findings)
    policy = _Parser(reader).policy(document.root)
    return (None if reader.failed else policy), sort(reader.findings)


class _Parser:
    """Reads one document; `plain` remembers what stands for a node in the canonical document."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.plain: dict[int, object] = {}

    def policy(self, root: MapNode) -> tree.Policy:
        reader = self.reader
        top = reader.section(root, "a policy", _TOP, _TOP_LATER, _TOP_MEANT) or {}
        key_spans = {entry.key.text: entry.key.span for entry in root.entries}
        version = self.version(top["version"]) if "version" in top else 1
        timezone = reader.text(top["timezone"], "`timezone`") if "timezone" in top else None
        attributes = self.attributes(top["attributes"]) if "attributes" in top else {}
        definitions = self.definitions(top["let"]) if "let" in top else ()
        defaults = _NO_OPTIONS
        if "defaults" in top:
            values = reader.section(top["defaults"], "`defaults`", _DEFAULTS, ("backoff", "catch"))
            defaults = self.options(values or {})
            key_spans |= {f"defaults.{key}": span for key, span in defaults.spans.items()}
        deadline = top.get("deadline")
        rules = self.rules(root, top, key_spans)
        chain = top.get("fallback_chain")
        policy = tree.Policy(
            source_span=root.span,
            version=version,
            timezone=timezone,
            attributes=attributes,
            definitions=definitions,
            defaults=defaults,
            deadline_us=reader.duration_us(deadline, "`deadline`") if deadline else None,
            providers=self.providers(top["providers"]) if "providers" in top else (),
            targets=self.targets(top["targets"]) if "targets" in top else (),
            models=self.models(top["models"]) if "models" in top else (),
            rules=rules,
            fallback_chain=self.chain(chain, "`fallback_chain`") if chain else (),
            tests=self.tests(top["tests"]) if "tests" in top else (),
            document={e.key.text: self.data(e.value) for e in root.entries},
            key_spans=key_spans,
        )
        return policy

    # --- small sections --------------------------------------------------------------------------

    def version(self, node: Node) -> int:
        text = self.reader.text(node, "`version`")
        if text is not None and text.value != "1":
            message = f"version `{traps.shown(text.value)}` is not known"
            self.reader.find("RP010", message, text.span, "write `version: 1`")
        return 1

    def attributes(self, node: Node) -> dict[str, tuple[tree.Text, ...]]:
        domains: dict[str, tuple[tree.Text, ...]] = {}
        for entry in self.reader.entries(node, "`attributes`") or ():
            what = f"the domain of `{traps.shown(entry.key.text)}`"
            values: dict[str, tree.Text] = {}
            for item in self.reader.items(entry.value, what):
                text = self.reader.text(item, "a value of a domain")
                if text is not None and text.value in values:
                    self.twice(text, values[text.value])
                elif text is not None:
                    values[text.value] = text
            if isinstance(entry.value, ListNode) and not entry.value.items:
                help = "list the values, or remove the line: an undeclared attribute is open"
                self.reader.find("RP008", f"{what} is empty", entry.value.span, help)
            domains[entry.key.text] = tuple(values.values())
        return domains

    def definitions(self, node: Node) -> tuple[tree.Definition, ...]:
        found: list[tree.Definition] = []
        if isinstance(node, ScalarNode) and _ASSIGNED.match(node.text):
            message = f"`{traps.shown(node.text)}` lacks its `:`"
            self.reader.find("RP002", message, node.span, traps.with_colon(node.text))
            return ()
        for entry in self.reader.entries(node, "`let`") or ():
            name = entry.key.text
            if not _IDENTIFIER.fullmatch(name) or name in KEYWORDS:
                help = "write letters, digits and `_`, such as `long_doc`"
                message = f"`{traps.shown(name)}` cannot be a name"
                self.reader.find("RP010", message, entry.key.span, help)
            expression = self.condition(entry.value, f"`{traps.shown(name)}`")
            if expression is not None:
                found.append(tree.Definition(tree.Text(name, entry.key.span), expression))
        return tuple(found)

    def models(self, node: Node) -> tuple[tree.ModelEntry, ...]:
        found: list[tree.ModelEntry] = []
        for entry in self.reader.entries(node, "`models`") or ():
            if isinstance(entry.value, MapNode):
                name = traps.shown(entry.key.text)
                help = f"write `{name}: provider/model`, and prices under `targets:`"
                message = "keys under a model are not known yet"
                self.reader.find("RP005", message, self.start(entry.value), help)
                continue
            to = self.reader.text(entry.value, "what a model stands for")
            if to is not None:
                key = tree.Text(entry.key.text, entry.key.span)
                found.append(tree.ModelEntry(key, to, key.span.to(to.span)))
        return tuple(found)

    def condition(self, node: Node, what: str) -> tree.Expression | None:
        if isinstance(node, Hole):
            return None
        if not isinstance(node, ScalarNode) or node.is_null:
            found = "a list" if isinstance(node, ListNode) else "keys with values"
            found = "empty" if isinstance(node, ScalarNode) else found
            help = "write a condition such as `tokens < 100`; quote it if YAML takes it apart"
            span = node.span if isinstance(node, ScalarNode) else self.start(node)
            self.reader.find("RP103", f"{what} is {found} where a condition must be", span, help)
            return None
        try:
            expression = parse_scalar(node)
        except PolicyError as error:
            self.reader.take(error)
            return None
        self.plain[id(node)] = unparse(expression)
        self.cut_by_comment(node)
        return expression

    def cut_by_comment(self, node: ScalarNode) -> None:
        """Warn where a comment reads as if it were meant to go on with the condition."""
        span = node.span
        if node.style != "plain":
            return
        rest = span.source.line_text(span.end_line)[span.end_column - 1 :]
        comment = _COMMENT.match(rest)
        if comment and _GOES_ON.match(comment[2]):
            start = span.end + comment.start(1)
            whole = f"{span.excerpt}{rest.rstrip()}"
            self.reader.find(
                "RP003",
                "this `#` cuts the condition short: what follows is a comment",
                Span(span.source, start, start + 1),
                f"quote the whole condition: `{traps.quoted(whole)}`, or remove the comment",
                severity="warning",
            )

    # --- rules and hops --------------------------------------------------------------------------

    def rules(
        self, root: MapNode, top: dict[str, Node], key_spans: dict[str, Span]
    ) -> tuple[tree.Rule, ...]:
        node = top.get("routing_policy")
        help = "write `- {name: default, route: openai/gpt-4}`"
        if node is None:
            if not self.reader.findings:
                self.reader.find(
                    "RP008", "the policy has no `routing_policy`", self.start(root), help
                )
            return ()
        is_empty = (isinstance(node, ListNode) and not node.items) or (
            isinstance(node, ScalarNode) and node.is_null
        )
        if is_empty:
            span = key_spans["routing_policy"]
            self.reader.find("RP008", "`routing_policy` has no rule", span, help)
            return ()
        if isinstance(node, MapNode) and any(entry.key.text in _RULE for entry in node.entries):
            first = node.entries[0].key
            message = "a rule starts with a `-`, and there is none here"
            help = f"write `- {traps.shown(first.text)}: …`, and its other keys below that"
            self.reader.find("RP009", message, first.span, help)
            return ()
        names: dict[str, tree.Text] = {}
        rules = [self.rule(item, names) for item in self.reader.items(node, "`routing_policy`")]
        return tuple(rule for rule in rules if rule is not None)

    def rule(self, node: Node, names: dict[str, tree.Text]) -> tree.Rule | None:
        reader = self.reader
        before = len(reader.findings)
        values = reader.section(node, "a rule", _RULE, _RULE_LATER, _RULE_MEANT)
        if values is None:
            return None
        complete = len(reader.findings) == before
        name = reader.text(values["name"], "the name of a rule") if "name" in values else None
        if name is not None and name.value in names:
            self.twice(name, names[name.value], "two rules are called `{0}`")
        elif name is not None:
            names[name.value] = name
        condition = None
        if "condition" in values:
            condition = self.condition(values["condition"], "`condition`")
        route = self.route(values["route"]) if "route" in values else None
        for key, example in (("name", "cheap_for_simple"), ("route", "openai/gpt-4")):
            if key not in values and complete:
                span = name.span if name else self.start(node)
                whose = f"the rule `{name.value}`" if name else "this rule"
                reader.find("RP008", f"{whose} has no `{key}`", span, f"write `{key}: {example}`")
        options = self.options(values)
        fallback = None
        if "fallback" in values:
            fallback = self.chain(values["fallback"], "`fallback`")
        if name is None or route is None:
            return None
        return tree.Rule(
            name, condition, route[0], self.both(options, route[1]), fallback, node.span
        )

    def route(self, node: Node) -> tuple[tree.Text, tree.HopOptions] | None:
        if isinstance(node, ListNode):
            help = "write one target, and the others under `fallback:`"
            self.reader.find("RP009", "a route is one target, not a list", self.start(node), help)
            return None
        if isinstance(node, MapNode):
            before = len(self.reader.findings)
            if self.beside(node):
                return None
            values = self.reader.section(
                node, "a route", _ROUTE, (*_FORMS, *_HOP_LATER), _HOP_MEANT
            )
            return self.target_of(node, values or {}, len(self.reader.findings) == before)
        hop = self.hop(node, "a route", _OPTIONS)
        return None if hop is None else (hop[0], self.options(hop[1]))

    def chain(self, node: Node, what: str) -> tuple[tree.HopEntry, ...]:
        found = [self.entry(item) for item in self.reader.items(node, what)]
        return tuple(entry for entry in found if entry is not None)

    def entry(self, node: Node) -> tree.HopEntry | None:
        if isinstance(node, MapNode):
            if self.beside(node):
                return None
            before = len(self.reader.findings)
            what = "an entry of a chain"
            values = self.reader.section(node, what, _ENTRY, _HOP_LATER, _HOP_MEANT) or {}
            target = self.target_of(node, values, len(self.reader.findings) == before)
            when = self.condition(values["when"], "`when`") if "when" in values else None
            return target and tree.HopEntry(target[0], target[1], when, node.span)
        hop = self.hop(node, "an entry of a chain", (*_OPTIONS, "when"))
        if hop is None:
            return None
        when = self.condition(hop[1]["when"], "`when`") if "when" in hop[1] else None
        return tree.HopEntry(hop[0], self.options(hop[1]), when, node.span)

    def beside(self, node: MapNode) -> bool:
        """Refuse `groq/llama-3-8b timeout: 2s`, an option without its parentheses."""
        entry = node.entries[0] if node.entries else None
        glued = entry and _BESIDE.fullmatch(entry.key.text)
        if not entry or not glued or not isinstance(entry.value, ScalarNode):
            return False
        target, option = glued.groups()
        value = f"{option}: {traps.shown(entry.value.text)}"
        help = f"write `{target} ({value})`, or `{{to: {target}, {value}}}`"
        message = f"the option `{option}` stands beside its target"
        self.reader.find("RP002", message, entry.key.span, help)
        return True

    def target_of(
        self, node: MapNode, values: dict[str, Node], complete: bool
    ) -> tuple[tree.Text, tree.HopOptions] | None:
        if "to" not in values:
            if complete:
                help = "write `{to: openai/gpt-4, timeout: 5s}`"
                self.reader.find("RP008", "no target is named here", self.start(node), help)
            self.options(values)
            return None
        to = self.reader.text(values["to"], "`to`")
        options = self.options(values)
        if to is not None and "(" in to.value:
            help = "write them beside it: `{to: openai/gpt-4, timeout: 5s}`"
            self.reader.find("RP010", "options cannot stand inside `to`", to.span, help)
        return None if to is None else (to, options)

    def hop(
        self, node: Node, what: str, legal: Collection[str]
    ) -> tuple[tree.Text, dict[str, Node]] | None:
        """A target with options as `target (timeout: 2s)`, or the target alone."""
        form = hop_form(node) if isinstance(node, ScalarNode) else None
        if form is None:
            to = self.reader.text(node, what)
            glued = to and _BESIDE.match(to.value)
            if to and glued and to.value[glued.end() :].strip():
                help = f"write `{glued[1]} ({glued[2]}: {traps.shown(to.value[glued.end() :])})`"
                message = f"the option `{glued[2]}` stands beside its target"
                self.reader.find("RP002", message, to.span, help)
                return None
            return None if to is None else (to, {})
        target, options, findings = form
        if options is None or findings:
            self.reader.findings += findings
            return None
        values = self.reader.section(options, "the options of a target", legal, _HOP_LATER)
        to = self.reader.text(target, what)
        # what the options hold is made plain by `options` and `condition`, hence later
        self.plain[id(node)] = _Recovered(target.text, options)
        return None if to is None else (to, values or {})

    def options(self, values: dict[str, Node]) -> tree.HopOptions:
        reader = self.reader
        clocks = {
            f"{key}_us": reader.duration_us(values[key], f"`{key}`")
            for key in _CLOCKS
            if key in values
        }
        retries = None
        if "retries" in values:
            retries = reader.count(values["retries"], "`retries`", least=0, most=MAX_RETRIES)
        catch = self.faults(values["catch"]) if "catch" in values else None
        spans = {key: values[key].span for key in _OPTIONS if key in values}
        return tree.HopOptions(**clocks, retries=retries, catch=catch, spans=spans)

    def faults(self, node: Node) -> tuple[tree.Text, ...]:
        single = isinstance(node, ScalarNode) and not node.is_null
        found: list[tree.Text] = []
        for item in (node,) if single else self.reader.items(node, "`catch`"):
            text = self.reader.text(item, "a fault")
            if text is None:
                continue
            if text.value not in FAULTS:
                close = nearest(text.value, FAULTS) or _FAULTS_MEANT.get(text.value.lower())
                help = f"did you mean `{close}`?" if close else f"faults: {', '.join(FAULTS)}"
                message = f"unknown fault `{traps.shown(text.value)}`"
                self.reader.find("RP112", message, text.span, help)
            found.append(text)
        return tuple(found)

    def both(self, rule: tree.HopOptions, route: tree.HopOptions) -> tree.HopOptions:
        """A rule's options and those written in its route: each may be given in one place."""
        for key in rule.spans.keys() & route.spans.keys():
            self.reader.find(
                "RP004",
                f"`{key}` is written twice for this rule",
                max(rule.spans[key], route.spans[key], key=lambda span: span.start),
                "keep one of the two",
                related=(Related("also written here", rule.spans[key]),),
            )
        merged = {
            name: getattr(route, name) if getattr(route, name) is not None else getattr(rule, name)
            for name in (*(f"{clock}_us" for clock in _CLOCKS), "retries", "catch")
        }
        return tree.HopOptions(**merged, spans={**rule.spans, **route.spans})

    # --- providers and targets -------------------------------------------------------------------

    def providers(self, node: Node) -> tuple[tree.ProviderEntry, ...]:
        reader = self.reader
        found: list[tree.ProviderEntry] = []
        for entry in reader.entries(node, "`providers`") or ():
            name = tree.Text(entry.key.text, entry.key.span)
            empty = isinstance(entry.value, ScalarNode) and entry.value.is_null
            what = f"the provider `{traps.shown(name.value)}`"
            keys = ("kind", "base_url", "headers")
            meant = {"url": "base_url", "type": "kind", "api_base": "base_url"}
            later = ("price", "regions", "timeout")
            written = self.without_keys(name, entry.value)
            values = {} if empty else reader.section(written, what, keys, later, meant)
            if values is None:
                continue
            if "/" in name.value:
                help = "write the provider alone, its models under `targets:`"
                reader.find("RP010", f"`{traps.shown(name.value)}` names a target", name.span, help)
            url = reader.text(values["base_url"], "`base_url`") if "base_url" in values else None
            if url is not None:
                self.base_url(url)
            headers = self.headers(values["headers"]) if "headers" in values else {}
            kind = reader.text(values["kind"], "`kind`") if "kind" in values else None
            span = entry.key.span.to(entry.value.span)
            found.append(tree.ProviderEntry(name, kind, url, headers, span))
        return tuple(found)

    def without_keys(self, provider: tree.Text, node: Node) -> Node:
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
                self.reader.find("RP005", message, entry.key.span, help)
            elif not isinstance(entry.value, Hole):
                message = f"`{traps.shown(key)}` holds a secret in plain text"
                self.reader.find("RP007", message, entry.value.span, help)
        return MapNode(tuple(kept), node.span)

    def variables(self, text: tree.Text) -> None:
        """Warn of variables that the gateway reads only if its operator allows it."""
        for match in _VARIABLE.finditer(text.span.excerpt):
            name = match[0][2:-1]
            if not name.startswith("TURNOUT_VAR_"):
                start = text.span.start + match.start()
                self.reader.find(
                    "RP010",
                    f"the gateway reads `{name}` only if its operator lists it in "
                    "`TURNOUT_POLICY_VARS`",
                    Span(text.span.source, start, start + len(match[0])),
                    f"name it `TURNOUT_VAR_{name}`, or see that it is listed",
                    severity="warning",
                )

    def base_url(self, url: tree.Text) -> None:
        self.variables(url)
        scheme, separator, rest = url.value.partition("://")
        if not separator or scheme.lower() not in ("http", "https"):
            if not url.value.startswith("${"):
                help = "write the whole address, such as `https://api.example.com/v1`"
                self.reader.find("RP010", "`base_url` is not a web address", url.span, help)
        authority = rest.partition("/")[0]
        if "@" in authority or _SECRET.search(_VARIABLE.sub("", rest)):
            self.secret("this address", url.span)

    def headers(self, node: Node) -> dict[str, tree.Text]:
        found: dict[str, tree.Text] = {}
        for entry in self.reader.entries(node, "`headers`") or ():
            name = entry.key.text
            text = self.reader.text(entry.value, f"the header `{traps.shown(name)}`")
            if text is None:
                continue
            if not _HEADER_NAME.fullmatch(name) or not text.value.isascii():
                message = f"`{traps.shown(name)}` cannot be a header"
                help = "write names and values in plain ASCII letters"
                self.reader.find("RP010", message, entry.key.span, help)
            literal = _VARIABLE.sub("", text.value).strip()
            bare = re.sub(r"(?i)^(?:bearer|basic|token)\b", "", literal).strip()
            if (bare and _SECRET_NAME.search(name)) or _SECRET.search(literal):
                self.secret("this header", text.span)
            self.variables(text)
            found[name] = text
        return found

    def secret(self, what: str, span: Span) -> None:
        help = "write `${TURNOUT_VAR_NAME}` and set that variable where the gateway runs"
        self.reader.find("RP007", f"{what} holds a secret in plain text", span, help)

    def targets(self, node: Node) -> tuple[tree.TargetEntry, ...]:
        found: list[tree.TargetEntry] = []
        for entry in self.reader.entries(node, "`targets`") or ():
            name = tree.Text(entry.key.text, entry.key.span)
            empty = isinstance(entry.value, ScalarNode) and entry.value.is_null
            what = f"the target `{traps.shown(name.value)}`"
            values = {} if empty else self.reader.section(entry.value, what, _TARGET, _TARGET_LATER)
            if values is not None:
                span = entry.key.span.to(entry.value.span)
                found.append(self.target(name, values, span))
        return tuple(found)

    def target(self, name: tree.Text, values: dict[str, Node], span: Span) -> tree.TargetEntry:
        reader = self.reader
        expected: dict[str, Node] = {}
        if "expected" in values:
            keys = ("p95", "ttft", "output")
            expected = reader.section(values["expected"], "`expected`", keys) or {}
        region = reader.text(values["region"], "`region`") if "region" in values else None
        counts = {
            key: reader.count(values[key], f"`{key}`")
            for key in ("context_window", "max_output")
            if key in values
        }
        clocks = {
            key: reader.duration_us(expected[key], f"`{key}`")
            for key in ("p95", "ttft")
            if key in expected
        }
        abilities: dict[str, bool] = {}
        for ability in ABILITIES:
            flag = reader.flag(values[ability], f"`{ability}`") if ability in values else None
            if flag is not None:
                abilities[ability] = flag
        return tree.TargetEntry(
            name=name,
            price=self.price(values["price"]) if "price" in values else None,
            context_window=counts.get("context_window"),
            max_output=counts.get("max_output"),
            region=region.value if region else None,
            expected_p95_us=clocks.get("p95"),
            expected_ttft_us=clocks.get("ttft"),
            expected_output=reader.count(expected["output"], "`output`", least=0)
            if "output" in expected
            else None,
            abilities=abilities,
            span=span,
        )

    def price(self, node: Node) -> tree.Price | None:
        reader = self.reader
        if isinstance(node, ScalarNode):
            if node.text in ("0", "$0", "$0/Mtok"):
                return tree.Price(input=0, output=0)
            help = "write `0`, or `{input: $2.50/Mtok, output: $10/Mtok}`"
            if node.is_null:
                reader.find("RP008", "`price` is empty", node.span, help)
            else:
                message = f"`{traps.shown(node.text)}` does not say what it is the price of"
                reader.find("RP009", message, node.span, help)
            return None
        values = reader.section(node, "a price", _PRICE, _PRICE_LATER)
        if values is None:
            return None
        rates = {
            key: reader.rate(values[key], f"`{key}`")
            for key in ("input", "output", "cached", "cache_write")
            if key in values
        }
        request = reader.money(values["request"], "`request`") if "request" in values else None
        steps: list[tuple[int, tree.Price]] = []
        for entry in reader.entries(values["above"], "`above`") or () if "above" in values else ():
            tokens = reader.count(entry.key, "a step of `above`")
            step = self.price(entry.value)
            if tokens is not None and step is not None:
                steps.append((tokens, step))
        above = tuple(sorted(steps, key=lambda step: step[0]))
        return tree.Price(**rates, request=request, above=above)

    # --- tests -----------------------------------------------------------------------------------

    def tests(self, node: Node) -> tuple[tree.TestCase, ...]:
        found = [self.test(item) for item in self.reader.items(node, "`tests`")]
        return tuple(case for case in found if case is not None)

    def test(self, node: Node) -> tree.TestCase | None:
        reader = self.reader
        before = len(reader.findings)
        keys = ("name", "given", "at", "expect")
        meant = {"expected": "expect", "input": "given", "when": "given", "snapshot": "given"}
        values = reader.section(node, "a test", keys, ("expires", "tags"), meant)
        if values is None:
            return None
        complete = len(reader.findings) == before
        given: dict[str, tuple[object, Span]] = {}
        for entry in reader.entries(values["given"], "`given`") or () if "given" in values else ():
            if isinstance(entry.value, ScalarNode):
                given[entry.key.text] = (self.data(entry.value), entry.value.span)
            elif not isinstance(entry.value, Hole):
                message = f"the value of `{traps.shown(entry.key.text)}` is not a single value"
                reader.find("RP009", message, self.start(entry.value), "write one value")
        rule = route = None
        if "expect" in values and isinstance(values["expect"], MapNode):
            expect = reader.section(
                values["expect"], "`expect`", ("rule", "route"), (), {"target": "route"}
            )
            expect = expect or {}
            rule = reader.text(expect["rule"], "`rule`") if "rule" in expect else None
            route = reader.text(expect["route"], "`route`") if "route" in expect else None
        elif "expect" in values:
            rule = reader.text(values["expect"], "`expect`")
        if complete and rule is None and route is None and len(reader.findings) == before:
            help = "write the name of the rule: `expect: cheap_for_simple`"
            reader.find("RP008", "this test expects nothing", self.start(node), help)
        return tree.TestCase(
            name=reader.text(values["name"], "the name of a test") if "name" in values else None,
            given=given,
            at=reader.text(values["at"], "`at`") if "at" in values else None,
            expect_rule=rule,
            expect_route=route,
            span=node.span,
        )

    # --- what all share --------------------------------------------------------------------------

    def twice(
        self, text: tree.Text, first: tree.Text, message: str = "`{0}` is listed twice"
    ) -> None:
        self.reader.find(
            "RP004",
            message.format(traps.shown(text.value)),
            text.span,
            "rename one of the two" if "rules" in message else "keep one of the two",
            related=(Related("first written here", first.span),),
        )

    def start(self, node: Node) -> Span:
        """The beginning of a node, for a finding about all of it: its first key or character."""
        if isinstance(node, MapNode) and node.entries:
            return node.entries[0].key.span
        return Span(node.span.source, node.span.start, min(node.span.start + 1, node.span.end))

    def data(self, node: Node) -> object:
        """A node as plain data, conditions in canonical form and hops as mappings."""
        known = self.plain.get(id(node))
        if isinstance(known, _Recovered):
            return {"to": known.target, **self._mapping(known.options)}
        if known is not None:
            return known
        match node:
            case ScalarNode(text, style):
                if style != "plain":
                    return text
                if node.is_null:
                    return None
                return int(text) if _INTEGER.fullmatch(text) else _TRUTHS.get(text, text)
            case ListNode(items):
                return [self.data(item) for item in items]
            case MapNode():
                return self._mapping(node)
            case _:
                return None

    def _mapping(self, node: MapNode) -> dict[str, object]:
        return {entry.key.text: self.data(entry.value) for entry in node.entries}


class _Recovered:
    """Stands for a `target (timeout: 2s)` among the plain data."""

    def __init__(self, target: str, options: MapNode) -> None:
        self.target = target
        self.options = options


_FAULTS_MEANT = {
    "500": "5xx",
    "502": "5xx",
    "503": "overloaded",
    "504": "timeout",
    "529": "overloaded",
    "429": "rate_limit",
    "401": "auth",
    "403": "auth",
    "400": "bad_request",
    "server_error": "5xx",
    "error": "5xx",
    "rate_limited": "rate_limit",
    "ttft": "ttft_timeout",
    "connection": "connect",
}
