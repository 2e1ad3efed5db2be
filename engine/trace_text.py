"""Traces as text for a terminal: what a person reads to know why a request went where it went.

What stands in a trace is `trace.document`'s affair. Whatever a client or a provider may have chosen
is shown with its control characters escaped.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

_LEAST_WAIT_MS = 10.0  # before a hop; less is the gateway's own work

NOT_READ = "not read"  # the reason of a value that nobody asked for, which is not `unknown`


def render(document: dict[str, Any]) -> str:
    """A trace document as text; no line break at the end."""
    where = f"→ {document['target']}" if document["target"] else f"✗ {document['error']}"
    lines = [
        f"{document['id']}  {where}  {document['status']} {document['outcome']}"
        f"  in {_took(document['ms'])}",
        "",
        *_about(document),
        "",
        "rules",
    ]
    if document["trail"] is None:
        lines.append("  the policy of this decision is not kept, so it cannot be explained")
    else:
        lines += _trail(document["trail"])
    if document["replayed"] is False:
        lines.append("  ! the gateway decided otherwise then: the values above do not explain it")
    if way := _way(document, document["chosen"]):
        lines += ["", *way]
    lines += ["", "hops", *_table(_hops(document["hops"]))]
    if not document["hops"]:
        lines.append("  none")
    if document["mirror"] is not None:
        lines += ["mirror", *_table([_hop_cells(document["mirror"])])]
    if document["embeddings"]:
        lines += ["embeddings", *_table([_hop_cells(one) for one in document["embeddings"]])]
    if document["shadow"] is not None:
        lines += _shadow(document["shadow"])
    lines += ["", *_table(_sums(document))]
    return "\n".join(map(_printable, lines))


def _shadow(shadow: dict[str, Any]) -> list[str]:
    """What a policy beside said, and why where that is there."""
    marks = {True: "✓", False: "✗", None: "?"}
    said = {True: "the same", False: f"differs from {shadow['acting'] or 'no target'}"}
    what = f"rule {shadow['rule']}" if shadow["rule"] else "no rule matched"
    where = shadow["target"] or "no target"
    if shadow["refused"] is not None:
        what = f"refused as {shadow['refused']}"
    if shadow["undecided"] is not None:
        what, where = "undecided", shadow["undecided"]
    lines = ["shadow", *_table([["policy", shadow["policy"]]])]
    lines += _table([[f"{marks[shadow['agrees']]} {what}", where, said.get(shadow["agrees"], "")]])
    if shadow["trail"] is not None:
        lines += _trail(shadow["trail"])
    return lines


def render_trail(trail: list[dict[str, Any]]) -> str:
    """Every rule with its mark and condition, and the value of each sub-expression before it.

    ✓ the rule matched, ✗ it did not, ? it could not be known, · it was not tried. Two spaces
    indent each line; no line break at the end.
    """
    return "\n".join(map(_printable, _trail(trail)))


def render_destination(said: dict[str, Any], target: str | None) -> str:
    """How a route came to its target, as `destination.explained` says; empty of a plain one."""
    return "\n".join(map(_printable, _way(said, target)))


def _way(said: dict[str, Any], target: str | None) -> list[str]:
    lines: list[str] = []
    if said["choice"]:
        bucket = said["bucket"]
        lines.append("choice" if bucket is None else f"choice, by bucket {bucket:,} of 10,000")
        names = {row["limit"] for row in said["limits"]}
        rows = []
        for one in said["choice"]:
            why = one["excluded"]
            mark = "✗" if why else "✓" if one["target"] == target else "·"
            told = f"limit {why}" if why in names else why or one["rank"] or ""
            rows.append([f"{mark} {one['target']}", told])
        lines += _table(rows)
    kept_out: dict[str, list[str]] = {}
    for row in said["limits"]:
        kept_out.setdefault(row["limit"], []).append(row["target"])
    if kept_out:
        lines += ["limits"]
        lines += _table([[name, f"keeps out {', '.join(out)}"] for name, out in kept_out.items()])
    rest = []
    if said["set"]:
        rest.append(["set", ", ".join(f"{name} {_json(v)}" for name, v in said["set"].items())])
    if isinstance(said["mirror"], str):
        rest.append(["mirror", said["mirror"]])
    if said["tags"]:
        rest.append(["tags", ", ".join(said["tags"])])
    if rest:
        lines += ["options", *_table(rest)]
    if said["expired"]:
        lines.append("! the rule is past its date, and still runs")
    return lines


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


_MARKS = {
    "true": "✓",
    "false": "✗",
    "unknown": "?",
    "ok": "✓",
    "failed": "✗",
    "skipped": "·",
    "cached": "✓",
    "pending": "·",
    "lost": "?",
}


def _trail(trail: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    tried = [step for step in trail if step["outcome"] != "not_tried"]
    width = max((len(step["rule"]) for step in tried), default=0)
    for step in tried:
        expression = step.get("expression")
        text = _one_line(expression["text"]) if expression else "always"
        lines.append(f"  {_MARKS[step['outcome']]} {step['rule']:{width}}   {text}")
        if expression:
            # The mark tells the value of the whole, so its parts come next.
            parts = expression["children"] or [expression]
            rows = list(_values(parts, 0, set()))
            column = max((len(value) for value, _ in rows), default=0)
            lines += [f"      {value:{column}}   {text}" for value, text in rows]
    left = [step["rule"] for step in trail if step["outcome"] == "not_tried"]
    if len(left) > 4:
        lines.append(f"  · not tried: {', '.join(left[:3])} and {len(left) - 3} more")
    elif left:
        lines.append(f"  · not tried: {', '.join(left)}")
    return lines


def _about(document: dict[str, Any]) -> list[str]:
    caller = ", ".join(
        f"{name} {document[name]}"
        for name in ("tenant", "tier", "team", "user", "key")
        if document[name] is not None
    )
    return _table(
        [
            ["rule", document["rule"] or "none matched"],
            ["route", document["route"] or "none"],
            ["policy", document["policy"]],
            ["time", document["time"].replace("T", " ").replace("Z", " UTC")],
            ["caller", caller],
            ["asked for", document["model"] + (", streamed" if document["stream"] else "")],
        ]
    )


def _hops(hops: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each hop, and between two of them how long nothing was under way."""
    rows = []
    ended: datetime | None = None
    for hop in hops:
        began = datetime.fromisoformat(hop["time"])
        waited_ms = 0.0 if ended is None else (began - ended) / timedelta(milliseconds=1)
        if waited_ms > _LEAST_WAIT_MS:
            rows.append(["", "waited", _took(waited_ms), ""])
        rows.append(_hop_cells(hop))
        over = began + timedelta(milliseconds=hop["ms"])
        ended = over if ended is None else max(ended, over)
    return rows


def _hop_cells(hop: dict[str, Any]) -> list[str]:
    told = []
    if hop["reason"]:
        told.append(hop["reason"])
    if hop["ttft_ms"] is not None:
        told.append(f"first token after {_took(hop['ttft_ms'])}")
    if hop["tokens"] is not None:
        told.append(_counted(hop["tokens"]))
    if hop["unconfirmed"] != "0":
        told.append(f"at most ${hop['unconfirmed']}, not confirmed")
    elif hop["sent"]:
        told.append(f"${hop['cost']}")
    if hop["reserved"] is not None:
        told.append(f"${hop['reserved']} reserved")
    if hop["payer"] == "caller":
        told.append("paid by the caller's own key")
    if hop["dropped"]:
        told.append(f"dropped {', '.join(hop['dropped'])}")
    if hop["outcome"] == "ok" and hop["upstream_model"]:
        told.append(f"model {hop['upstream_model']}")
    took = "" if hop["outcome"] == "skipped" else _took(hop["ms"])
    word = hop["fault"] or hop["outcome"]
    return [f"{_MARKS[hop['outcome']]} {hop['target']}", word, took, "; ".join(told)]


def _sums(document: dict[str, Any]) -> list[list[str]]:
    tokens = document["tokens"]
    cost = f"${document['cost']}"
    if document["unconfirmed"] != "0":
        cost += f", and at most ${document['unconfirmed']} that is not confirmed"
    cache = document["cache"]
    used = "not known"
    if cache == "HIT" and document["status"] == 200:
        # Where the first answer's own use is not known, it is of these tokens that nothing is.
        served = document["served"]
        cache += f", ${document['saved']} saved"
        cache += "" if served is None else f": {_counted(served)} given again"
        used = "none"
    elif document["cache_reason"] is not None:
        cache += f": {document['cache_reason']}"
    return [
        ["tokens", _counted(tokens) if tokens is not None else used],
        ["cost", cost],
        ["cache", cache],
    ]


def _took(ms: float) -> str:
    return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"


def _counted(tokens: dict[str, Any]) -> str:
    words = {"cached": "cached", "cache_write": "written to the cache"}
    inside = ", ".join(f"{tokens[name]} {word}" for name, word in words.items() if tokens[name])
    told = f"{tokens['input']} in" + (f" ({inside})" if inside else "")
    told += f", {tokens['output']} out"
    if tokens["reasoning"]:
        told += f" ({tokens['reasoning']} reasoning)"
    return told + (", estimated" if tokens["estimated"] else "")


def _table(rows: list[list[str]]) -> list[str]:
    """Rows as lines whose cells stand under each other; the last cell is as long as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "   ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _values(nodes: list[dict[str, Any]], depth: int, told: set[str]) -> Iterator[tuple[str, str]]:
    """The value and the indented text of each sub-expression, what is read twice only once.

    Why a value is unknown stands where it comes from, not at all that follows from it.
    """
    for node in nodes:
        text, children = _one_line(node["text"]), node["children"]
        if not children:
            if text in told:
                continue
            told.add(text)
        reason = node.get("reason")
        value = NOT_READ if reason == NOT_READ else node["value"] or "unknown"
        if reason not in (None, NOT_READ, *(child.get("reason") for child in children)):
            text = f"{text}   ({reason})"
        yield value, "  " * depth + text
        yield from _values(children, depth + 1, told)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)
