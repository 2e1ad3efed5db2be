"""From settings to parts: what a policy file may read, which keys are found, what stops."""

import asyncio
import gc
import re
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from turnout.adapters import PROVIDERS
from turnout.dsl.diagnostic import PolicyError
from turnout.engine.bundle import Bundle
from turnout.engine.current import Begun
from turnout.engine.destination import route_of
from turnout.engine.live import make_live
from turnout.engine.request import Caller
from turnout.engine.revision import Kept, Revision
from turnout.engine.state.database import FILE
from turnout.server.identity import Identity
from turnout.settings import Settings, SettingsError
from turnout.wiring import (
    build_gateway,
    build_providers,
    compile_bundle,
    load_program,
    read_policy,
)

RULES = "routing_policy:\n  - {name: all, route: openai/gpt-4}\n"


def settings(
    home: Path, policy: str | None = RULES, environment: Mapping[str, str] | None = None
) -> Settings:
    path = None
    if policy is not None:
        path = home / "routing.yml"
        path.write_text(policy, encoding="utf-8")
    given = {"TURNOUT_HOME": str(home)} | dict(environment or {})
    return Settings.load(given, policy=None if path is None else str(path))


def problems(of: Settings) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        build_providers(of, load_program(of))
    return raised.value.problems


def test_without_a_policy_every_request_gets_what_it_asks_for(tmp_path: Path) -> None:
    program = load_program(settings(tmp_path, None))
    assert [route_of(program, clause) for clause in program.clauses] == ["requested"]
    assert program.chain == ()


def test_a_policy_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "routing.yml"
    path.write_bytes(b"\xef\xbb\xbf" + RULES.encode())
    assert read_policy(path).text == RULES


def test_a_policy_that_is_not_text_says_where(tmp_path: Path) -> None:
    path = tmp_path / "routing.yml"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(SettingsError, match=r"is not UTF-8 text \(byte 6\)"):
        read_policy(path)


def test_a_policy_with_errors_is_refused_with_its_findings(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as raised:
        load_program(settings(tmp_path, RULES.replace("name: all", "name: all, condition: tokns")))
    assert [finding.code for finding in raised.value.diagnostics] != []


def test_a_provider_is_usable_once_its_key_is_there(tmp_path: Path) -> None:
    given = settings(tmp_path, environment={"OPENAI_API_KEY": "k-1"})
    providers = build_providers(given, load_program(given))
    usable = {name for name, provider in providers.items() if provider.usable}
    assert "openai" in usable
    assert "anthropic" in providers
    assert "anthropic" not in usable
    assert "groq" not in usable


def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k-1\n")
    given = settings(tmp_path, environment={"OPENAI_API_KEY_FILE": str(key)})
    assert build_providers(given, load_program(given))["openai"].usable


def test_a_provider_of_the_policy_reads_its_own_variable(tmp_path: Path) -> None:
    policy = (
        "providers:\n  house: {kind: openai, base_url: 'https://llm.example/v1'}\n"
        "targets:\n  house/big: {price: 0, context_window: 8k}\n"
        "routing_policy:\n  - {name: all, route: house/big}\n"
    )
    # A forgotten key is not taken for an open door.
    without = settings(tmp_path, policy)
    assert not build_providers(without, load_program(without))["house"].usable
    given = settings(tmp_path, policy, {"HOUSE_API_KEY": "any"})
    assert build_providers(given, load_program(given))["house"].usable
    missing = {"HOUSE_API_KEY_FILE": str(tmp_path / "nowhere")}
    (problem,) = problems(settings(tmp_path, policy, missing))
    assert "`HOUSE_API_KEY_FILE`" in problem


HEADER = "providers:\n  openai: {headers: {x-team: 'Bearer ${%s}'}}\n" + RULES


@pytest.mark.parametrize(
    ("variable", "environment"),
    [
        ("TURNOUT_VAR_TEAM", {"TURNOUT_VAR_TEAM": "search"}),
        ("TEAM", {"TEAM": "search", "TURNOUT_POLICY_VARS": "TEAM"}),
    ],
)
def test_a_variable_that_the_policy_may_read_is_filled_in(
    tmp_path: Path, variable: str, environment: dict[str, str]
) -> None:
    given = settings(tmp_path, HEADER % variable, environment)
    program = load_program(given)
    assert "openai" in build_providers(given, program)
    # The archive and the hash hold the variable's name, not what is in it.
    assert "search" not in program.canonical
    assert variable in program.canonical


@pytest.mark.parametrize(
    ("variable", "environment", "told"),
    [
        ("TURNOUT_VAR_TEAM", {}, "which is not set"),
        ("TURNOUT_VAR_TEAM", {"TURNOUT_VAR_TEAM": ""}, "which is not set"),
        ("ANTHROPIC_API_KEY", {"ANTHROPIC_API_KEY": "k-secret"}, "which it may not"),
        ("TURNOUT_ADMIN_TOKEN", {"TURNOUT_ADMIN_TOKEN": "k-secret"}, "TURNOUT_POLICY_VARS"),
    ],
)
def test_a_variable_that_it_may_not_read_or_that_is_not_set_stops_the_start(
    tmp_path: Path, variable: str, environment: dict[str, str], told: str
) -> None:
    (problem,) = problems(settings(tmp_path, HEADER % variable, environment))
    assert told in problem
    assert f"`${{{variable}}}`" in problem
    assert re.search(r"\w\.yml:2:38: the policy reads", problem)
    assert "k-secret" not in problem


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    policy = (
        "providers:\n"
        "  openai: {headers: {x-team: '${TURNOUT_VAR_A}'}}\n"
        "  groq: {headers: {x-team: '${TURNOUT_VAR_B}'}}\n" + RULES
    )
    found = problems(settings(tmp_path, policy))
    assert len(found) == 2
    assert "TURNOUT_VAR_A" in found[0]
    assert "TURNOUT_VAR_B" in found[1]


def test_no_usable_target_stops_the_start_and_names_the_variables(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no provider has a credential.*`OPENAI_API_KEY`"):
        build_gateway(settings(tmp_path))


async def test_a_gateway_is_made_of_its_parts_and_closes(tmp_path: Path) -> None:
    given = settings(tmp_path, environment={"OPENAI_API_KEY": "k-1"})
    gateway = build_gateway(given)
    await gateway.start()
    try:
        assert gateway.ready
        assert gateway.providers == {"openai": True}
        assert gateway.digest == load_program(given).digest
    finally:
        await gateway.close()
    assert not gateway.ready


def test_a_journal_that_cannot_be_opened_is_told_with_its_variable(tmp_path: Path) -> None:
    blocked = settings(tmp_path, environment={"OPENAI_API_KEY": "k-1"})
    (tmp_path / FILE).mkdir()
    with pytest.raises(SettingsError, match="TURNOUT_HOME"):
        build_gateway(blocked)


def test_what_is_played_reads_neither_address_nor_header_nor_key_of_its_own(tmp_path: Path) -> None:
    text = (
        "providers:\n"
        '  house: {kind: openai, base_url: "https://${TURNOUT_VAR_NO}/v1", headers: {x: "${NO}"}}\n'
        + RULES
    )
    given = settings(tmp_path, text, {"GROQ_API_KEY": "a", "GROQ_API_KEY_FILE": "b"})
    assert len(problems(given)) == 2
    played = dict.fromkeys(PROVIDERS, "http://127.0.0.1:1/v1")
    given = replace(given, played=played)
    providers = build_providers(given, load_program(given))
    assert set(providers) == {"house", *played}
    assert all(provider.usable for provider in providers.values())


def test_makers_without_a_key_are_told_where_the_requested_model_is_given(tmp_path: Path) -> None:
    policy = (
        "routing_policy:\n  - {name: small, condition: tokens < 100, route: groq/llama-3-8b}\n"
        "  - {name: rest, route: requested}\n"
    )
    gateway = build_gateway(settings(tmp_path, policy, {"GROQ_API_KEY": "k-1"}))
    assert gateway.providers["groq"]
    assert {"openai", "anthropic"} <= set(gateway.missing)
    assert gateway.missing["openai"] == "no credential"


def test_no_model_is_listed_of_a_provider_that_cannot_be_called(tmp_path: Path) -> None:
    policy = "routing_policy:\n  - {name: rest, route: requested}\n"
    gateway = build_gateway(settings(tmp_path, policy, {"GROQ_API_KEY": "k-1"}))
    assert {model["owned_by"] for model in gateway.models(Identity(Caller()))} == {
        "turnout",
        "groq",
        "ollama",
    }


def test_the_gateway_says_what_each_provider_of_its_policy_lacks(tmp_path: Path) -> None:
    policy = (
        "targets:\n  bedrock/m: {price: 0, context_window: 8k}\n"
        "  azure/m: {price: 0, context_window: 8k}\n"
        "routing_policy:\n  - {name: all, route: openai/gpt-4, fallback: [bedrock/m, azure/m]}\n"
    )
    environment = {
        "OPENAI_API_KEY": "k-1",
        "AZURE_OPENAI_API_KEY": "k-2",
        "AWS_ACCESS_KEY_ID": "k-3",
        "AWS_REGION": "us-east-1",
    }
    gateway = build_gateway(settings(tmp_path, policy, environment))
    lacking = {"azure": "no `AZURE_OPENAI_ENDPOINT`", "bedrock": "no `AWS_SECRET_ACCESS_KEY`"}
    assert gateway.missing == lacking
    assert gateway.providers == {"azure": False, "bedrock": False, "openai": True}


def test_a_gateway_that_can_call_nobody_says_which_variable_is_not_there(tmp_path: Path) -> None:
    policy = (
        "targets:\n  bedrock/m: {price: 0, context_window: 8k}\n"
        "routing_policy:\n  - {name: all, route: bedrock/m}\n"
    )
    environment = {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "us east"}
    with pytest.raises(SettingsError) as raised:
        build_gateway(settings(tmp_path, policy, environment))
    assert raised.value.problems == ("no region in `AWS_REGION` for `bedrock`",)


async def test_a_program_that_is_not_in_force_any_more_is_forgotten(tmp_path: Path) -> None:
    given = settings(tmp_path, environment={"OPENAI_API_KEY": "k-1"})
    gateway = build_gateway(given)
    await gateway.start()
    former: list[weakref.ref[object]] = []
    try:
        for number in range(20):
            text = RULES.replace("all", f"rule_{number}")
            program = compile_bundle(Bundle("routing.yml", text))
            live = make_live(program, gateway.live.providers)
            former += [weakref.ref(live.decider), weakref.ref(live.embedder)]
            await gateway.switch(live)
            assert gateway.digest == program.digest
        del live, program
        gc.collect()
        assert sum(one() is not None for one in former) == 2
    finally:
        await gateway.close()


FIRST = Bundle("routing.yml", RULES)
BEGUN = Begun(Revision(4, 0, FIRST))


async def test_a_worker_that_starts_later_serves_the_newest_that_was_kept(tmp_path: Path) -> None:
    given = settings(tmp_path, "broken: true", {"OPENAI_API_KEY": "k-1"})
    newest = Bundle(str(given.policy), RULES.replace("all", "newest"))
    kept = Kept(given.home, str(given.policy))
    for number, served in ((3, FIRST), (5, newest)):
        kept.write(Revision(number, 0, newest))
        gateway = build_gateway(given, BEGUN)
        assert gateway.digest == compile_bundle(served).digest
        shown = gateway.health()["policy"]
        assert shown["revision"] == max(number, 4)
        await gateway.close()


async def test_what_was_kept_and_must_not_be_here_is_not_served(tmp_path: Path) -> None:
    given = settings(tmp_path, RULES, {"OPENAI_API_KEY": "k-1"})
    elsewhere = "providers: {openai: {base_url: 'https://elsewhere.example/v1'}}\n" + RULES
    for text in (elsewhere, "broken: true"):
        kept = Kept(given.home, str(given.policy))
        kept.write(Revision(9, 0, Bundle(str(given.policy), text)))
        gateway = build_gateway(given, BEGUN)
        assert gateway.digest == compile_bundle(FIRST).digest
        await gateway.close()


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("attributes: {tenant: [acme]}\n" + RULES, "`TURNOUT_TENANT_ID` is none of"),
        (RULES.replace("openai/gpt-4", "groq/llama-3-8b"), "set one of `GROQ_API_KEY`"),
        (
            "providers: {openai: {headers: {x: '${TURNOUT_VAR_NO}'}}}\n" + RULES,
            "routing.yml:1:36: the policy reads `${TURNOUT_VAR_NO}`, which is not set",
        ),
        ("providers: {openai: {base_url: 'https://a.example/v1'}}\n" + RULES, "takes a restart"),
    ],
)
async def test_what_a_start_would_refuse_is_refused_while_serving_and_nothing_is_kept(
    tmp_path: Path, policy: str, told: str
) -> None:
    given = settings(tmp_path, policy, {"OPENAI_API_KEY": "k-1", "TURNOUT_TENANT_ID": "initech"})
    gateway = build_gateway(given, BEGUN)
    await gateway.start()
    try:
        async with asyncio.timeout(60):
            while gateway.health()["policy"]["rejected"] is None:
                await asyncio.sleep(0.02)
        assert told in gateway.health()["policy"]["rejected"]["reason"]
        assert "a.example" not in str(gateway.health())
        assert gateway.digest == compile_bundle(FIRST).digest
    finally:
        await gateway.close()
    assert Kept(given.home, str(given.policy)).read() is None
