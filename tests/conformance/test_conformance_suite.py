"""The suite itself, and what it says of the gateway in front of each provider's wire."""

import asyncio
import json
import os
import re
from collections import Counter

import pytest

from tests.e2e.conftest import Served
from turnout.adapters import PROVIDERS
from turnout.conformance.api import Target
from turnout.conformance.run import Outcome, Result, run
from turnout.conformance.suite import AREAS, cases, chosen

from .conftest import KEY, KINDS, KINDS_FILE, Clean

OPEN = (
    "keys are not looked at here",
    "answers are not for other origins",
    "no rate limits are told",
    "the model takes no images",
)


def failures(results: list[Result]) -> list[str]:
    return [f"{r.case.id}: {r.seen}" for r in results if r.outcome is Outcome.FAILED]


def test_there_are_cases_enough_in_every_area() -> None:
    assert len(cases()) >= 160
    counted = Counter(case.area for case in cases())
    assert set(counted) == {area.name for area in AREAS}
    assert min(counted.values()) >= 7


def test_each_case_has_an_id_of_its_own() -> None:
    ids = [case.id for case in cases()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z-]+\.[a-z0-9-]+", id) for id in ids)


def test_each_case_says_in_a_sentence_what_is_expected_and_who_says_so() -> None:
    for case in cases():
        assert case.expects.endswith(".") and len(case.expects) < 130, case.id
        assert case.sources, case.id
        assert all(source.url.startswith("https://") for source in case.sources), case.id


def test_areas_and_cases_are_chosen_by_name() -> None:
    assert {case.area for case in chosen(["tools", "models"])} == {"tools", "models"}
    assert "tools" not in {case.area for case in chosen(skip=["tools"])}
    assert [case.id for case in chosen(ids=["tools.auto-is-taken"])] == ["tools.auto-is-taken"]
    for names in ({"only": ["toys"]}, {"skip": ["toys"]}, {"ids": ["tools.no-such-case"]}):
        with pytest.raises(KeyError):
            chosen(**names)


def test_each_kind_of_provider_has_its_row() -> None:
    assert list(KINDS) == list(PROVIDERS)
    for name, kind in PROVIDERS.items():
        has_vectors = KINDS[name]["embedding_model"] is not None
        assert has_vectors is kind.carries.embeddings, name


def test_the_gateway_conforms_in_front_of_openai(clean: Clean) -> None:
    assert failures(clean.results) == []
    assert not [r.case.id for r in clean.results if r.outcome is Outcome.NOT_OFFERED]
    reasons = Counter(r.seen for r in clean.results if r.outcome is Outcome.SKIPPED)
    assert set(reasons) <= set(OPEN)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gateway_conforms_in_front_of_each_kind_of_provider(kind: str, gateway: Served) -> None:
    """Nothing is passed over in silence: how many cases, and why, is in the table."""
    row = KINDS[kind]
    vectors = row["embedding_model"] and f"{kind}/{row['embedding_model']}"
    target = Target(f"{gateway.url}/v1", f"{kind}/{row['model']}", KEY, vectors)
    results = asyncio.run(run(target, cases()))
    assert failures(results) == []
    passed_over = dict(sorted(Counter(map(_reason, results)).items()))
    del passed_over["none"]
    if os.environ.get("WRITE_GOLDEN"):
        row["passed_over"] = passed_over
        KINDS_FILE.write_text(json.dumps(KINDS, indent=2) + "\n")
    assert passed_over == row["passed_over"]


def test_responses_are_translated_for_azures_api_of_deployments(gateway: Served) -> None:
    target = Target(f"{gateway.url}/v1", "deployed/gpt-4o", KEY)
    results = asyncio.run(run(target, chosen(["responses"])))
    assert {result.outcome for result in results} == {Outcome.PASSED}, failures(results)


def _reason(result: Result) -> str:
    """Why a case was not asked, in short; `none` if it was."""
    if result.outcome is Outcome.NOT_OFFERED:
        return f"not offered: {result.case.area}"
    if result.outcome is not Outcome.SKIPPED:
        return "none"
    found = re.match(r"the model does not take (`\w+`): ", result.seen or "")
    return f"not taken: {found.group(1)}" if found else str(result.seen)
