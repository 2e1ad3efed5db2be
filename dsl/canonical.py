"""The canonical text of a program: what is hashed, archived, and restored from.

It holds the policy's document, whose conditions `parse` put into normal form, and every catalogue
row that was looked up on the way, so that a newer price list does not change what an old policy
decided. Comments, formatting and the policy's own tests are not part of it; variables are
unexpanded.

Shape: one line of JSON, keys sorted: `{turnout, policy, catalog: {found, requestable, free}}`. Only
the arms of a split keep their order, which decides which buckets are theirs.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

import yaml

from . import tree
from .schema import Catalog, Expected, Schema, Target, Tariff
from .source import Source

LANGUAGE = 1
_ORDERED = "split"


class Recording:
    """A catalogue that remembers what was asked of it and what it answered."""

    def __init__(self, catalog: Catalog) -> None:
        """Ask this catalogue."""
        self._catalog = catalog
        self.found: dict[str, Target | None] = {}
        self.asked_for: dict[str, Target] | None = None

    def find(self, name: str) -> Target | None:
        """The target of a name; remembered, also where there is none."""
        if name not in self.found:
            self.found[name] = self._catalog.find(name)
        return self.found[name]

    def close_to(self, name: str) -> str | None:
        """The known target most like a misspelt one."""
        return self._catalog.close_to(name)

    def requestable(self, providers: Iterable[str]) -> Mapping[str, Target]:
        """Client-facing names; all of them are remembered."""
        self.asked_for = dict(self._catalog.requestable(providers))
        return self.asked_for


class Archived:
    """The catalogue as it was: archived answers first, today's for names nobody had asked of."""

    def __init__(self, rows: Mapping[str, Any], today: Catalog) -> None:
        """Read the archived rows."""
        self._today = today
        self._found = {
            name: None if row is None else _target(row) for name, row in rows["found"].items()
        }
        asked_for = rows["requestable"]
        self._requestable: dict[str, Target] | None = (
            None if asked_for is None else {name: _target(row) for name, row in asked_for.items()}
        )

    def find(self, name: str) -> Target | None:
        """The archived target of a name, else today's."""
        return self._found[name] if name in self._found else self._today.find(name)

    def close_to(self, name: str) -> str | None:
        """The known target most like a misspelt one."""
        return self._today.close_to(name)

    def requestable(self, providers: Iterable[str]) -> Mapping[str, Target]:
        """The archived names if the policy asked for them, else today's."""
        if self._requestable is None:
            return self._today.requestable(providers)
        return self._requestable


def canonical(
    policy: tree.Policy, catalog: Recording, used: Mapping[str, Target], free: Mapping[str, bool]
) -> str:
    """The canonical text of a policy that checked out.

    `used` are the targets it resolved, `free` says of providers whether they cost nothing.
    """
    requestable = catalog.asked_for
    names = {target.provider for target in used.values()}
    names |= {entry.name.value for entry in policy.providers}
    names |= {entry.kind.value for entry in policy.providers if entry.kind is not None}
    content = {
        "turnout": LANGUAGE,
        "policy": {key: part for key, part in policy.document.items() if key != "tests"},
        "catalog": {
            "found": {
                name: None if target is None else _row(target)
                for name, target in catalog.found.items()
                if name in used
            },
            "requestable": None
            if requestable is None
            else {name: _row(target) for name, target in requestable.items()},
            "free": {name: free[name] for name in names if name in free},
        },
    }
    return json.dumps(_sorted(content), ensure_ascii=False, separators=(",", ":"))


def _sorted(part: object, key: str = "") -> object:
    """A value with the keys of its mappings in order, but for those whose order means something."""
    if isinstance(part, dict):
        keys = part if key == _ORDERED else sorted(part)
        return {name: _sorted(part[name], name) for name in keys}
    if isinstance(part, list | tuple):
        return [_sorted(item) for item in part]
    return part


def digest(text: str) -> str:
    """`sha256:…` of a canonical text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def reopen(text: str, today: Schema) -> tuple[Source, Schema]:
    """The policy of a canonical text as a source, and the schema of its day.

    Attributes are today's: what a name means is the language's, not the catalogue's.
    """
    content = cast("dict[str, Any]", json.loads(text))
    rows = content["catalog"]
    schema = Schema(
        today.attributes,
        Archived(rows, today.catalog),
        {**today.providers, **rows["free"]},
        today.kinds,
    )
    document = yaml.dump(
        content["policy"], Dumper=_Dumper, allow_unicode=True, width=10**9, sort_keys=False
    )
    return Source("archive", document), schema


def _row(target: Target) -> dict[str, Any]:
    row = asdict(target)
    row["abilities"] = dict(target.abilities)
    # The policy's own words, which no catalogue has.
    del row["strict"], row["concurrency"]
    return row


def _target(row: Mapping[str, Any]) -> Target:
    return Target(
        **{
            **row,
            "tariff": None if row["tariff"] is None else _tariff(row["tariff"]),
            "expected": Expected(**row["expected"]),
            "tags": tuple(row.get("tags", ())),
        }
    )


def _tariff(row: Mapping[str, Any]) -> Tariff:
    above = tuple((tokens, _tariff(step)) for tokens, step in row["above"])
    return Tariff(**{**row, "above": above})


class _Dumper(yaml.SafeDumper):
    """Text in single quotes, which need no escapes: excerpts of conditions read as written."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")


_Dumper.add_representer(str, _quoted)
