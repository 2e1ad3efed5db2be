"""Writes the pages made from the code: attributes, faults, providers, and one per code of lint.

Usage: python docs/generate.py [--check]; with `--check` nothing is written, and the exit code is 1
where a page is not up to date.

Over 300 lines because each page is a function, and they share how a table and an example are told.
"""

import inspect
import sys
from collections.abc import Iterable
from pathlib import Path

from turnout.adapters import PROVIDERS
from turnout.adapters.kind import Kind
from turnout.adapters.parameters import PARAMETERS
from turnout.cli.report import render_text
from turnout.dsl.lint.page import Page, beside, completed
from turnout.dsl.lint.registry import ON_REQUEST, PROVED, pages
from turnout.dsl.lint.run import lint
from turnout.dsl.prove import Prover
from turnout.dsl.schema import Attribute, Parameter, Schema, Type
from turnout.dsl.source import Source
from turnout.engine.attributes import ATTRIBUTES
from turnout.engine.catalog import language_schema
from turnout.engine.logged import LOGGED
from turnout.engine.provider import FAULTS, Fault

HERE = Path(__file__).parent
MADE = "<!-- made by docs/generate.py; edit the table in the code -->\n"
TODAY = 20_778  # a day for the examples, 2026-11-21, so that pages do not change by themselves
LEVELS = {"error": "error", "warning": "warning", "info": "note"}
WRITTEN = {
    Type.BOOL: "`true`, `false`",
    Type.NUMBER: "`100`, `32k`, `2M`",
    Type.DURATION: "`800ms`, `2s`, `5m`",
    Type.MONEY: "`$0.02`",
    Type.RATE: "`$5/Mtok`",
    Type.PERCENT: "`5%`",
    Type.SCORE: "`0.7`",
    Type.TIME: "`09:00`",
    Type.WEEKDAY: "`Mon`",
    Type.DATE: "`2026-10-01`",
    Type.TEXT: '`"text"`',
    Type.ENUM: '`"text"`, one of its domain',
}
ASKED = {
    Parameter.NONE: "{}",
    Parameter.TARGET: '{}("provider/model")',
    Parameter.HEADER: '{}["x-name"]',
    Parameter.META: '{}["name"]',
    Parameter.SALT: '{}("salt")',
    Parameter.LIST: '{}("list")',
    Parameter.PATTERN: '{}("pattern")',
    Parameter.BUDGET: "{}",
}


def attributes() -> str:
    """The page of everything a condition may read."""
    rows = [
        f"| `{_asked(a)}` | {a.type.value} | {WRITTEN[a.type]} | {_known(a)} | {_doc(a)} |"
        for a in ATTRIBUTES
        if not a.hidden
    ]
    return "\n".join(
        [
            "# Attributes",
            "",
            MADE,
            "What a condition may read. Comparing with a value that is not known is *unknown*, and",
            "a rule fires only on *true*; `known(x)` asks, `x ?? 0` gives a default.",
            "",
            "| attribute | type | written as | known | what it is |",
            "|---|---|---|---|---|",
            *rows,
            "",
            'Also: `cost`, `cost("provider/model")` and `worst_case(cost)` (money), computed from',
            "the target's prices; `latency`, `latency.p95`, `latency.p50`, the recent latency of",
            "the rule's own target.",
            "",
            "The values of `request_type` are the endpoints: `/v1/chat/completions`,",
            "`/v1/completions`, `/v1/responses`, `/v1/messages` and `/v1/embeddings`.",
            "",
        ]
    )


def _asked(attribute: Attribute) -> str:
    if attribute.parameter is Parameter.BUDGET:
        name, _, part = attribute.name.partition(".")
        return f'{name}("name").{part}'
    return ASKED[attribute.parameter].format(attribute.name)


def _known(attribute: Attribute) -> str:
    if attribute.too_late is not None:
        return "never in a condition"
    if attribute.fetched:
        return "after a call"
    if attribute.always_known:
        return "always"
    if attribute.live:
        return "after enough samples, or as declared"
    return "where given"


def _doc(attribute: Attribute) -> str:
    doc = attribute.doc
    if attribute.domain is not None:
        doc += f" One of {', '.join(f'`{value}`' for value in attribute.domain)}."
    return f"{doc} Caller-controlled." if attribute.untrusted and "caller-c" not in doc else doc


MEANT: dict[Fault, str] = {
    Fault.CONNECT: "no connection, or it broke: refused, reset, cut off before or amid the answer",
    Fault.TIMEOUT: "`connect`, `idle` or `timeout` struck, or the deadline",
    Fault.TTFT_TIMEOUT: "`ttft` struck: no content of a stream in time",
    Fault.SERVER: "status 500, 502, 504 and the like, or an error of that kind in a stream",
    Fault.OVERLOADED: "status 503 or 529; a seat of its `concurrency:` was not free (counts not)",
    Fault.RATE_LIMIT: "status 429; with `Retry-After` it is left alone for that long",
    Fault.QUOTA: "the gateway's account is out of credit",
    Fault.AUTH: "the gateway's key is refused (401, 403)",
    Fault.OWN_KEY: "the caller's own key is refused ([passthrough.md](passthrough.md))",
    Fault.BAD_OUTPUT: "an answer that cannot be read or says nothing; a model that is not there",
    Fault.CONTEXT_EXCEEDED: "the prompt is longer than the window",
    Fault.CONTENT_FILTER: "the provider does not want to answer this",
    Fault.BAD_REQUEST: "the provider finds the request wrong (400, 413, 422)",
    Fault.UNSUPPORTED: "it lacks something that shapes the answer ([providers.md](providers.md))",
    Fault.BREAKER_OPEN: "not tried: its breaker is open, or it asked for a pause",
    Fault.BUDGET: "not tried: a budget has less left than it may cost ([budgets.md](budgets.md))",
}
"""When an attempt has this fault, for its page."""


def faults() -> str:
    """The page of what each fault leads to."""
    rows = [
        f"| `{fault.value}` | {MEANT[fault]} "
        f"| {_yes(t.retry)} | {_yes(t.next_hop)} | {_yes(t.breaker)} "
        f"| {t.status} | `{t.type}` | {f'`{t.code}`' if t.code else 'as the provider says'} |"
        for fault, t in FAULTS.items()
    ]
    return "\n".join(
        [
            "# Faults",
            "",
            MADE,
            "Why an attempt failed, by the names that `catch`, traces and metrics use, and what",
            "follows unless `catch` says otherwise. The last three columns are what the client",
            "sees if nothing else answers.",
            "",
            "| fault | when | tried again | next hop | counts against the target "
            "| status | type | code |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def providers() -> str:
    """The page of what each kind of provider carries, and what becomes of the rest."""
    kinds = sorted(PROVIDERS.values(), key=lambda kind: kind.kind)
    return "\n".join(
        [
            "# Providers",
            "",
            MADE.replace("the table in the code", "the files in `adapters/`"),
            "The kinds of providers that a policy may name under `providers:`; each has targets",
            "`provider/model`. Anything else that speaks OpenAI's wire is `kind: openai` with a",
            "`base_url`. A key may also be named by `…_FILE`.",
            "",
            "## Where they are",
            "",
            "| kind | address | key | also read |",
            "|---|---|---|---|",
            *(_home(kind) for kind in kinds),
            "",
            "A `base_url` is a prefix, path included, without `?` and `#`; only the path of the",
            "call is appended. Written without a path, `azure` and `ollama` get their own",
            "(`/openai/v1`, `/v1`), and `cohere` gets `/v2` wherever it is missing. Nothing is",
            "added for the others: a gateway in front may serve them at its root. Where the path",
            "is what is wrong, trace and log say which one the kind has.",
            "",
            "## What they carry",
            "",
            "Every one streams and answers chat. `count`: its own count of a prompt's tokens.",
            "*As they are*: protocols beside chat whose requests and answers pass through; the",
            "others are translated. *Signatures*: thinking that a client sends back is taken up;",
            "that of Claude counts at `anthropic` and `bedrock`, whichever of them gave it.",
            "",
            "| kind | stream | tools | images | by address | audio | documents | JSON schema "
            "| reasoning | signatures | embeddings | count | as they are |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
            *(_row(kind) for kind in kinds),
            "",
            "## Whether they are there",
            "",
            "`turnout providers check` asks each for the list of its models, and one of the",
            "gateway's workers asks every half minute, and sooner where a breaker waits for it",
            "(`TURNOUT_PROBE_SECONDS` of [settings.md](settings.md)), for the least that says the",
            "same: it is reached, and takes its key. Both are free of charge, and nothing is ever",
            "completed for it. A key that may not list models, or a server that has no list, makes",
            "a provider that is *not well*; requests go there all the same, unless the policy asks",
            "for `healthy`. [http.md](http.md#how-providers-are) has what is told of it.",
            "",
            "| kind | listed by | probed by |",
            "|---|---|---|",
            *(f"| `{kind.kind}` | {kind.lists} | {kind.probes} |" for kind in kinds),
            "",
            "## What becomes of parameters that they lack",
            "",
            "What shapes the answer is *refused*: the request goes to the next hop, and is 400",
            "`unsupported_parameter` if none is left. What only steers it is *dropped*, and named",
            "in the trace and in `x-turnout-dropped`; under `parameters: strict` it is refused,",
            "too ([language.md](language.md)). Values that ask for nothing (`n: 1`, nulls) are",
            "neither. Everything else arrives, under another name where the provider has one. Some",
            "models lack more than their provider does; that is looked at for each call.",
            "",
            *(line for kind in kinds for line in _losses(kind)),
        ]
    )


def _home(kind: type[Kind]) -> str:
    unset = "made of its variables, or to be given" if kind.variables else "to be given"
    address = f"`{kind.default_base_url}`" if kind.default_base_url else unset
    key = f"`{kind.key_variable}`" + ("" if kind.needs_credential else ", not needed")
    also = ", ".join(f"`{name}`" for name in kind.variables) or "-"
    return f"| `{kind.kind}` | {address} | {key} | {also} |"


def _row(kind: type[Kind]) -> str:
    carries = kind.carries
    abilities = (
        True,
        carries.tools,
        carries.images,
        carries.image_urls,
        carries.audio,
        carries.documents,
        carries.schemas,
        carries.reasoning,
        carries.signatures,
        carries.embeddings,
        carries.counts,
    )
    native = ", ".join(sorted(f"`{operation.value}`" for operation in carries.native)) or "-"
    return f"| `{kind.kind}` | {' | '.join(map(_yes, abilities))} | {native} |"


def _losses(kind: type[Kind]) -> Iterable[str]:
    module = inspect.getmodule(kind)
    told = inspect.cleandoc(module.__doc__ or "") if module is not None else ""
    refused = sorted(name for name in kind.lacks if PARAMETERS[name].shapes)
    dropped = sorted(kind.lacks - set(refused))
    yield from (f"### `{kind.kind}`", "", told, "")
    if kind.example:
        yield from ("```yaml", kind.example.rstrip("\n"), "```", "")
    yield f"- refused: {_named(refused)}"
    yield from (f"- refused in part: {'; '.join(kind.partly)}",) if kind.partly else ()
    yield f"- dropped: {_named(dropped)}"
    yield ""


def _named(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def code_page(page: Page, schema: Schema) -> str:
    """The page of a code, with what lint says of its first example."""
    source = Source("routing.yml", completed(page.avoid))
    prover = Prover if page.code in PROVED else None
    linted = lint(source, schema, TODAY, beside, prover, page.code in ON_REQUEST)
    found = [finding for finding in linted.findings if finding.code == page.code]
    said = [
        "Of the first, lint says:",
        "",
        "```text",
        render_text(found).rstrip("\n"),
        "```",
        "",
    ]
    return "\n".join(
        [
            *page.markdown.split("\n")[:1],
            "",
            MADE.replace("the table in the code", f"`dsl/lint/{page.name.replace('-', '_')}.py`"),
            *page.markdown.split("\n")[2:],
            *(said if found else ()),
            f"[All codes](README.md) · `policy lint --explain {page.code}`",
            "",
        ]
    )


def codes(found: Iterable[Page]) -> str:
    """The index of the codes' pages."""
    rows = [
        f"| [{page.code}]({page.code}.md) | `{page.name}` | {LEVELS[page.level]} | {page.title} |"
        for page in found
    ]
    return "\n".join(
        [
            "# Codes of lint",
            "",
            MADE.replace("the table in the code", "the files in `dsl/lint/`"),
            "What `policy lint` finds. An *error* keeps a policy from being used; a *warning* is",
            "worth a look; a *note* is said once. Where a code can be several, the worst is named.",
            "",
            "A warning or a note that is right to stay is taken back in the file, with the reason,",
            "at the end of its line or alone on the line above:",
            "",
            "```yaml",
            "# turnout: ignore RP403 because the two providers share nothing",
            "```",
            "",
            "| code | name | level | finding |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def written() -> dict[str, str]:
    """All pages that are made, by their place below `docs`."""
    schema = language_schema()
    found = pages()
    return {
        "attributes.md": attributes(),
        "faults.md": faults(),
        "providers.md": providers(),
        "log.md": log(),
        "codes/README.md": codes(found.values()),
    } | {f"codes/{page.code}.md": code_page(page, schema) for page in found.values()}


def log() -> str:
    """The page of what the log may hold."""
    rows = [
        f"| {told} | {', '.join(f'`{_escaped(value)}`' for value in values)} |"
        for told, values in LOGGED.items()
    ]
    return "\n".join(
        [
            "# The log",
            "",
            MADE,
            "What happens to a process goes to stderr, a line each; a request as such is none. The",
            "lines of the gateway name these values and no others: a test reads every call. What",
            "is about to be written passes a net that takes out what looks like a secret, and the",
            "keys that the gateway was given, whatever they look like",
            "([security.md](security.md)).",
            "",
            "`TURNOUT_LOG_LEVEL=debug` adds a line per request with the beginning of its body,",
            "marked `PROMPT`. Nothing else ever holds a prompt: no other line, no record, trace or",
            "metric.",
            "",
            "| what it is | `file: value` |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def main() -> int:
    """Write the pages, or check them."""
    stale = []
    made = written()
    for name, text in made.items():
        page = HERE / name
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                page.parent.mkdir(exist_ok=True)
                page.write_text(text, encoding="utf-8")
    for page in sorted((HERE / "codes").glob("*.md")):
        if f"codes/{page.name}" not in made:  # of a code that is no more
            stale.append(f"codes/{page.name}")
            if "--check" not in sys.argv:
                page.unlink()
    if "--check" in sys.argv and stale:
        print(f"not up to date: {', '.join(stale)}; run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
