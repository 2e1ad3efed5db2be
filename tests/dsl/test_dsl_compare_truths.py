"""What `policy diff` may not overlook: pairs of policies with the one verdict that is true.

Each pair differs in something beside its conditions: a tenant, a model's name, a provider, a salt,
a rule's name, a prior, an address, the clocks of a copy.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pytest

from turnout.dsl.compare import Comparison, compare
from turnout.dsl.destination import reached
from turnout.dsl.given import said
from turnout.dsl.interpret.traced import trace
from turnout.dsl.prove import Prover
from turnout.dsl.readings import as_given_to_both, as_new, as_old
from turnout.dsl.settings import new_origins
from turnout.dsl.snapshot import read_snapshot

from .conftest import Language

REJECTS = '  - {name: e, condition: request_type == "embeddings", route: {reject: 400}}\n'
DEFAULT = "  - {name: d, route: groq/llama-3-70b}\n"
REGIONS = """targets: {groq/llama-3-8b: {region: eu}, openai/gpt-4o: {region: us}}
require: [{name: l, when: tenant.region == "eu", target: region == "eu"}]
"""
OF_TIER = REJECTS + '  - {name: p, condition: tier == "pro", route: openai/gpt-4o}\n' + DEFAULT
OF_REGION = REJECTS + "  - {name: d, route: openai/gpt-4o, fallback: [groq/llama-3-8b]}\n"
ASKS = REJECTS + "  - {name: r, condition: tokens > 1000, route: requested}\n" + DEFAULT
OLLAMA = 'providers: {ollama: {base_url: "http://localhost:11434"}'
LOCAL = ', local: {kind: ollama, base_url: "http://localhost:11434"}'
DRAWN = (
    REJECTS
    + """  - {name: NAME, condition: 'bucket.request("SALT") < 5000', route: groq/llama-3-70b}
  - {name: b, condition: 'bucket.request("OTHER") >= 5000', route: groq/llama-3-8b}
  - {name: rest, route: openai/gpt-4o}
"""
)
SPLIT = (
    REJECTS
    + """  - name: NAME
    condition: tokens < 100
    route: {split: {groq/llama-3-70b: 50%, groq/llama-3-8b: 50%}}
  - {name: b, condition: 'bucket.request("a") >= 5000', route: groq/llama-3-8b}
  - {name: rest, route: openai/gpt-4o}
"""
)
SIMILAR = """lists: {l: ["secret"]}
embed: {target: openai/gpt-4o}
"""
EMBEDS = (
    REJECTS
    + """  - name: a
    condition: header["x"] == "1" and similar_to("l") > 0.9
    route: groq/llama-3-8b
"""
)
AT_FIRST = EMBEDS.replace(
    'header["x"] == "1" and similar_to("l") > 0.9', 'similar_to("l") > 0.9 and header["x"] == "1"'
)
OF_SIMILAR = (
    REJECTS
    + """  - {name: a, condition: tier == "pro" and similar_to("l") > 0.9, route: groq/llama-3-8b}
"""
    + DEFAULT
)
FOR_ALL = '  - {name: b, condition: similar_to("l") > 0.9, route: groq/llama-3-70b}\n'
WORDS = 'lists: {l: ["WORD"]}\n'
OF_WORDS = REJECTS + '  - {name: a, condition: contains_any("l"), route: openai/gpt-4o}\n' + DEFAULT
MIRROR = REJECTS + (
    "  - {name: d, route: {to: groq/llama-3-70b, timeout: 5s, connect: 1s, idle: 5s},"
    " fallback: [], mirror: {to: groq/llama-3-8b, sample: 5%}}\n"
)
BUDGET = "budgets: [{name: team, scope: team, limit: $LIMIT/day}]\n"
OF_BUDGET = REJECTS + '  - {name: a, condition: budget("team").left < $1, route: ROUTE}\n' + DEFAULT
OF_RESET = OF_BUDGET.replace("left < $1", "resets_in < 1h").replace("ROUTE", "openai/gpt-4o")
TEAMS = "attributes: {team: [LIST]}\n"
OF_TEAM = REJECTS + "  - {name: k, condition: known(team), route: openai/gpt-4o}\n" + DEFAULT
OF_TEAMS = REGIONS.replace('tenant.region == "eu"', "known(team)")
EMBED_REGIONS = (
    """targets:
  openai/gpt-4o: {region: us}
  groq/llama-3-8b: {region: eu}
  groq/llama-3-70b: {region: eu}
"""
    + SIMILAR
)
EMBED_LIMIT = 'require: [{name: eu, when: tenant.region == "eu", target: region == "eu"}]\n'
HELD = (
    REJECTS
    + """  - {name: busy, condition: 'p95("groq/llama-3-70b") > 8s', route: {reject: 503}}
  - {name: a, condition: 'p95("groq/llama-3-8b") > 8s', hold: HOLD, route: openai/gpt-4o}
"""
    + DEFAULT
)
P95 = REJECTS + "  - {name: r, condition: p95 > 3s, route: requested}\n" + DEFAULT
COST = REJECTS + "  - {name: r, condition: cost > $0.10, route: requested}\n" + DEFAULT
EXPECTED = "targets: {openai/gpt-4o: {expected: {p95: P95, output: OUTPUT}}}\n"


class Pair(NamedTuple):
    """Two policies: the head and the rules of each; those of the old are the new's, if not said.

    `gates` are globs with what becomes of them; `example` is part of a request that is shown.
    """

    old: tuple[str, str]
    new: tuple[str, str | None]
    verdict: str
    gates: Mapping[str, str] = MappingProxyType({})
    example: str = ""


def drawn(name: str, salt: str, other: str) -> str:
    return DRAWN.replace("NAME", name).replace("SALT", salt).replace("OTHER", other)


PAIRS = {
    "a tenant of another tier": Pair(
        ("tenants: {acme: {tier: free}}\n", OF_TIER),
        ("tenants: {acme: {tier: pro}}\n", None),
        "changed",
        {"openai/*": "broken", "anthropic/*": "kept"},
        'tenant = "acme", tier = "free", tier@new = "pro"',
    ),
    "a tenant that gets a tier": Pair(
        ("tenants: {acme: {}}\n", OF_TIER),
        ("tenants: {acme: {tier: pro}}\n", None),
        "changed",
        {"openai/*": "broken"},
        'tier = "default", tier@new = "pro"',
    ),
    "a tenant of a tier that no rule tells from its old one": Pair(
        ("tenants: {acme: {tier: free}, b: {tier: pro}}\n", OF_TIER),
        ("tenants: {acme: {tier: gold}, b: {tier: pro}}\n", None),
        "equivalent",
        {"openai/*": "kept"},
    ),
    "a new tenant of a plain tier": Pair(
        ("tenants: {b: {tier: pro}}\n", OF_TIER),
        ("tenants: {b: {tier: pro}, acme: {tier: free}}\n", None),
        "equivalent",
        {"openai/*": "kept"},
    ),
    "a tenant of another region": Pair(
        ("tenants: {acme: {region: eu}, b: {region: us}}\n" + REGIONS, OF_REGION),
        ("tenants: {acme: {region: us}, b: {region: us}}\n" + REGIONS, None),
        "changed",
        {"openai/*": "broken"},
        'tenant.region = "eu", tenant.region@new = "us"',
    ),
    # A limit applies where nobody knows whether it does: the tenant is kept in all the same.
    "a tenant without its region, under a limit": Pair(
        ("tenants: {acme: {region: eu}, b: {region: us}}\n" + REGIONS, OF_REGION),
        ("tenants: {b: {region: us}}\n" + REGIONS, None),
        "equivalent",
        {"openai/*": "kept"},
    ),
    "a tenant whose region lets it out of a limit no more": Pair(
        ("tenants: {b: {region: us}}\n" + REGIONS, OF_REGION),
        ("tenants: {}\n" + REGIONS, None),
        "changed",
        {"openai/*": "kept"},
    ),
    "a provider of which everything may be asked": Pair(
        (OLLAMA + "}\n", ASKS),
        (OLLAMA + LOCAL + "}\n", None),
        "changed",
        {"local/*": "broken", "local/[a-z]*": "broken", "openai/*": "kept", "*any*": "broken"},
        'model = "local/any-model"',
    ),
    "a provider of which everything might be asked": Pair(
        (OLLAMA + LOCAL + "}\n", ASKS), (OLLAMA + "}\n", None), "changed", {"local/*": "kept"}
    ),
    "a new name, and a rule that changes": Pair(
        ("", ASKS),
        ("models: {fast: openai/gpt-4o}\n", ASKS.replace("70b", "8b")),
        "changed",
        {"openai/*": "broken", "anthropic/*": "kept"},
        'model = "fast"',
    ),
    "a new name": Pair(
        ("", ASKS), ("models: {fast: openai/gpt-4o}\n", None), "changed", {"openai/*": "broken"}
    ),
    "a new name that no rule sends where it stands for": Pair(
        ("", REJECTS + DEFAULT),
        ("models: {fast: openai/gpt-4o}\n", None),
        "changed",
        {"openai/*": "kept"},
        'model = "fast"',
    ),
    "another prior of what is asked for": Pair(
        (EXPECTED.replace("P95", "1s").replace("OUTPUT", "100"), P95),
        (EXPECTED.replace("P95", "5s").replace("OUTPUT", "100"), None),
        "not_decided",
        {"openai/*": "not_decided", "local/*": "kept"},
    ),
    "another expected output of what is asked for": Pair(
        (EXPECTED.replace("P95", "1s").replace("OUTPUT", "100"), COST),
        (EXPECTED.replace("P95", "1s").replace("OUTPUT", "100k"), None),
        "not_decided",
        {"openai/*": "not_decided", "local/*": "kept"},
    ),
    "a star for a salt": Pair(
        ("", drawn("a", "a", "*")), ("", drawn("a", "*", "*")), "changed", {"openai/*": "kept"}
    ),
    "a rule by a name of one letter": Pair(
        ("", drawn("u", "u", "x")), ("", drawn("k", "k", "x")), "equivalent"
    ),
    "a rule whose draw another one reads": Pair(
        ("", drawn("a", "a", "a")),
        ("", drawn("z", "z", "a")),
        "changed",
        {"openai/*": "broken"},
    ),
    "a split whose draw another rule reads": Pair(
        ("", SPLIT.replace("NAME", "a")), ("", SPLIT.replace("NAME", "z")), "changed"
    ),
    "two rules that exchange their names": Pair(
        ("", drawn("a", "a", "b")),
        ("", drawn("N", "b", "a").replace("name: b", "name: a").replace("name: N", "name: b")),
        "equivalent",
        {"openai/*": "kept"},
    ),
    "no address of its own any more": Pair(
        ('providers: {openai: {base_url: "https://proxy.example/v1"}}\n', REJECTS + DEFAULT),
        ("", None),
        "settings_changed",
    ),
    "another use of an unchanged embedding": Pair(
        (SIMILAR, EMBEDS + DEFAULT),
        (SIMILAR, EMBEDS + FOR_ALL + DEFAULT),
        "equivalent",
        {"openai/*": "broken", "anthropic/*": "kept"},
    ),
    "a similarity that is written first is read last all the same": Pair(
        (SIMILAR, EMBEDS + DEFAULT),
        (SIMILAR, AT_FIRST + DEFAULT),
        "equivalent",
        {"openai/*": "kept"},
    ),
    "an embedding for the tenants of a tier, and another tenant of it": Pair(
        ("tenants: {acme: {tier: free}}\n" + SIMILAR, OF_SIMILAR),
        ("tenants: {acme: {tier: pro}}\n" + SIMILAR, None),
        "changed",
        {"openai/*": "broken"},
        'tenant = "acme", tier = "free", tier@new = "pro"',
    ),
    "an embedding, and a new name to ask for": Pair(
        (SIMILAR, EMBEDS + DEFAULT),
        ("models: {fast: groq/llama-3-8b}\n" + SIMILAR, None),
        "changed",
        {"openai/*": "not_decided"},
    ),
    "the same use of an embedding": Pair(
        (SIMILAR, EMBEDS + DEFAULT),
        (SIMILAR, EMBEDS + DEFAULT.replace("70b", "8b")),
        "changed",
        {"openai/*": "kept"},
    ),
    "other clocks of a copy": Pair(
        ("defaults: {connect: 5s}\n", MIRROR), ("defaults: {connect: 1ms}\n", None), "changed"
    ),
    "a budget of another limit": Pair(
        (BUDGET.replace("LIMIT", "10"), OF_BUDGET.replace("ROUTE", "openai/gpt-4o")),
        (BUDGET.replace("LIMIT", "20"), None),
        "not_decided",
        {"anthropic/*": "kept", "openai/*": "not_decided"},
    ),
    "a budget that makes no difference": Pair(
        (BUDGET.replace("LIMIT", "10"), OF_BUDGET.replace("ROUTE", "groq/llama-3-70b")),
        (BUDGET.replace("LIMIT", "20"), None),
        "settings_changed",
        {"groq/*": "kept"},
    ),
    "other words": Pair(
        (WORDS.replace("WORD", "one"), OF_WORDS),
        (WORDS.replace("WORD", "two"), None),
        "not_decided",
        {"anthropic/*": "kept", "openai/*": "not_decided"},
    ),
    "a value that is newly listed": Pair(
        (TEAMS.replace("LIST", "a"), OF_TEAM),
        (TEAMS.replace("LIST", "a, b"), None),
        "changed",
        {"openai/*": "broken", "anthropic/*": "kept"},
        'team = "b"',
    ),
    "a value that is listed no more": Pair(
        (TEAMS.replace("LIST", "a, b"), OF_TEAM),
        (TEAMS.replace("LIST", "a"), None),
        "changed",
        {"groq/*": "broken", "openai/*": "kept"},
        'team = "b"',
    ),
    "values of which there is no list any more": Pair(
        (TEAMS.replace("LIST", "a"), OF_TEAM),
        ("", None),
        "changed",
        {"openai/*": "broken"},
        'team = "other"',
    ),
    "a newly listed value that no rule tells from one of no list": Pair(
        (TEAMS.replace("LIST", "a"), OF_TEAM.replace("known(team)", 'team == "a"')),
        (TEAMS.replace("LIST", "a, b"), None),
        "equivalent",
        {"openai/*": "kept"},
    ),
    "a tier that is newly listed": Pair(
        ("attributes: {tier: [free]}\n", OF_TIER.replace("pro", "default")),
        ("attributes: {tier: [free, pro]}\n", None),
        "changed",
        {"groq/*": "broken", "openai/*": "kept"},
        'tier = "pro"',
    ),
    "a value that is listed no more, under a limit": Pair(
        (TEAMS.replace("LIST", "a, b") + OF_TEAMS, OF_REGION),
        (TEAMS.replace("LIST", "a") + OF_TEAMS, None),
        "changed",
        {"openai/*": "broken"},
        'team = "b"',
    ),
    "tenants of another list, and another tier of one": Pair(
        ("attributes: {tenant: [a]}\n", OF_TIER),
        ("attributes: {tenant: [a, b]}\ntenants: {b: {tier: pro}}\n", None),
        "not_decided",
        {"openai/*": "not_decided"},
    ),
    "no limit before the embeddings any more": Pair(
        (EMBED_REGIONS + EMBED_LIMIT, EMBEDS + DEFAULT),
        (EMBED_REGIONS, None),
        "not_decided",
        {"openai/*": "broken", "groq/*": "not_decided", "anthropic/*": "kept"},
    ),
    "another region of what makes the embeddings": Pair(
        (EMBED_REGIONS + EMBED_LIMIT, EMBEDS + DEFAULT),
        (EMBED_REGIONS.replace("us}", "eu}") + EMBED_LIMIT, None),
        "not_decided",
        {"openai/*": "broken"},
    ),
    "a limit before the embeddings": Pair(
        (EMBED_REGIONS, EMBEDS + DEFAULT),
        (EMBED_REGIONS + EMBED_LIMIT, None),
        "not_decided",
        {"openai/*": "not_decided"},
    ),
    "a tenant of another region, under a limit before the embeddings": Pair(
        ("tenants: {acme: {region: eu}, b: {region: us}}\n" + EMBED_REGIONS + EMBED_LIMIT,
         EMBEDS + DEFAULT),
        ("tenants: {acme: {region: us}, b: {region: us}}\n" + EMBED_REGIONS + EMBED_LIMIT, None),
        "not_decided",
        {"openai/*": "broken"},
    ),
    "what is held for longer": Pair(
        ("", HELD.replace("HOLD", "2m")),
        ("", HELD.replace("HOLD", "2h")),
        "changed",
        {"openai/*": "not_decided", "anthropic/*": "kept"},
    ),
    "what is held after something else": Pair(
        ("", HELD.replace("HOLD", "2m")),
        ("", HELD.replace("HOLD", "2m").replace('8b") > 8s', '70b") > 8s')),
        "changed",
        {"openai/*": "not_decided"},
    ),
    "a held rule of another name": Pair(
        ("", HELD.replace("HOLD", "2m")),
        ("", HELD.replace("HOLD", "2m").replace("name: a,", "name: z,")),
        "equivalent",
        {"openai/*": "kept"},
    ),
    "a budget's day that begins elsewhere": Pair(
        ("timezone: UTC\n" + BUDGET.replace("LIMIT", "5"), OF_RESET),
        ("timezone: Asia/Tokyo\n" + BUDGET.replace("LIMIT", "5"), None),
        "not_decided",
        {"openai/*": "not_decided", "anthropic/*": "kept"},
    ),
    "a smaller window": Pair(
        ("", REJECTS + DEFAULT),
        ("targets: {groq/llama-3-70b: {context_window: 1k}}\n", None),
        "settings_changed",
    ),
    "an ability that is gone": Pair(
        ("", REJECTS + DEFAULT),
        ("targets: {groq/llama-3-70b: {vision: false}}\n", None),
        "settings_changed",
    ),
    "a deadline": Pair(("", REJECTS + DEFAULT), ("deadline: 9s\n", None), "settings_changed"),
    "a tag that nobody reads": Pair(
        ("", REJECTS + DEFAULT),
        ("targets: {groq/llama-3-70b: {tags: [fast]}}\n", None),
        "equivalent",
    ),
}  # fmt: skip


def compared(pair: Pair, language: Language) -> tuple[Comparison, str]:
    """What came of a pair, and all its examples in one text."""
    old_text = pair.old[0] + "routing_policy:\n" + pair.old[1]
    new_text = pair.new[0] + "routing_policy:\n" + (pair.new[1] or pair.old[1])
    old, new = language.compile(old_text), language.compile(new_text)
    found = compare(old, new, lambda *programs: Prover(*programs), tuple(pair.gates))
    examples = []
    for change in found.changes:
        assert change.differs
        examples.append(said(as_given_to_both(change.witness, old, new)))
        for program, seen, rule, effect in (
            (old, as_old(change.witness), change.old, change.before),
            (new, as_new(change.witness), change.new, change.after),
        ):
            if effect.unknown_model is None:
                index = trace(program, seen).clause
                assert (None if index is None else program.clauses[index].name) == rule
                assert reached(program, index, seen).target == effect.target
    examples += [
        said(as_given_to_both(one.witness, old, new))
        for one in found.newly
        if one.witness is not None
    ]
    return found, "\n".join(examples)


@pytest.mark.parametrize("name", PAIRS)
def test_the_verdict_and_the_gates_say_what_is_true_of_all_requests(
    name: str, language: Language
) -> None:
    pair = PAIRS[name]
    found, examples = compared(pair, language)
    assert found.verdict == pair.verdict, found
    broken = {one.glob for one in found.newly}
    status = {
        glob: "broken" if glob in broken else "not_decided" if glob in found.undecided else "kept"
        for glob in pair.gates
    }
    assert status == pair.gates, found
    assert pair.example in examples
    for glob, left in found.undecided.items():  # never without a reason
        assert left or found.assumed, glob


ARMS = "{split: {groq/llama-3-70b: 50%, groq/llama-3-8b: 50%}"
OTHER_ARMS = "{split: {groq/llama-3-70b: 60%, groq/llama-3-8b: 40%}"
RENAMED = (
    (f"route: {ARMS}}}", f"route: {OTHER_ARMS}}}"),
    (f"route: {ARMS}, sticky: session}}", f"route: {ARMS}, sticky: session}}"),
    (
        "condition: 'bucket.request(\"NAME\") < 5000', route: groq/llama-3-70b",
        "condition: 'bucket.request(\"NAME\") < 5000', route: groq/llama-3-8b",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("was", "is_"), RENAMED)
def test_a_request_is_told_to_each_version_by_the_keys_that_it_has(
    was: str, is_: str, language: Language
) -> None:
    rest = "  - {name: rest, route: openai/gpt-4o}\n"
    old, new = (
        language.compile(
            f"routing_policy:\n  - {{name: {name}, {rule.replace('NAME', name)}}}\n{rest}"
        )
        for name, rule in (("a", was), ("b", is_))
    )
    found = compare(old, new, lambda *programs: Prover(*programs))
    assert found.changes
    for change in found.changes:
        given = as_given_to_both(change.witness, old, new)
        assert {key for key in given if key.startswith("bucket")} == {
            key for key in (*old.slots, *new.slots) if key.startswith("bucket")
        }
        for program in (old, new):
            own = {k: v for k, v in given.items() if "(" not in k or k in program.slots}
            assert trace(program, read_snapshot(own, program)).clause is not None


ORIGINS = (
    # address before, address after, what is said of it
    ("https://proxy.example/v1", None, "the own address of openai"),
    (None, "https://proxy.example/v1", "https://proxy.example"),
    ("https://proxy.example/v1", "https://proxy.example/v2", None),
    ("https://proxy.example/v1", "https://[bad/v1", "an address that cannot be read, https://[bad/v1"),
    (None, "https://corp℀evil.example", "an address that cannot be read, https://corp℀evil.example"),
    ("https://${HOST}:${PORT}/v1", "https://${HOST}:${PORT}/v2", None),
    (None, None, None),
)  # fmt: skip


@pytest.mark.parametrize(("was", "is_", "said_of_it"), ORIGINS)
def test_every_address_that_a_provider_newly_has_is_a_new_origin(
    was: str | None, is_: str | None, said_of_it: str | None, language: Language
) -> None:
    old, new = (
        language.compile(
            ("" if url is None else f'providers: {{openai: {{base_url: "{url}"}}}}\n')
            + "routing_policy:\n"
            + DEFAULT
        )
        for url in (was, is_)
    )
    assert [one.address for one in new_origins(old, new)] == ([said_of_it] if said_of_it else [])
