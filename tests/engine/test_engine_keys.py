"""Keys: their texts, what of them is kept, and what a worker knows of them while others change."""

import ast
import asyncio
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from turnout.engine import keyring, keys
from turnout.engine.audit import looks_secret
from turnout.engine.key_terms import WrongTerms, grace_us, new_key, shown, status
from turnout.engine.keyring import MALFORMED, UNKNOWN, UNREADABLE, Keyring, Refused
from turnout.engine.keys import (
    FORM,
    Key,
    NoSuchKeyError,
    RevokedError,
    SpoiledError,
    digest_of,
    is_well_formed,
    new_id,
    new_text,
)
from turnout.engine.state.database import FILE, open_database
from turnout.engine.state.keys import StoredKeys
from turnout.engine.state.store import StoreError
from turnout.engine.state.tables import KEYS

NOW_US = 1_767_225_600_000_000  # 2026-01-01
HOUR_US = 3_600_000_000
TEXT = new_text("key_0123456789ab")


class Held:
    """A store in memory; `before` runs before each question, and may raise."""

    def __init__(self, *held: Key) -> None:
        self.keys = {key.id: key for key in held}
        self.number = len(held)
        self.asked: list[Sequence[str]] = []
        self.before: Callable[[], None] = lambda: None

    def find(self, ids: Sequence[str]) -> list[Key]:
        self.before()
        self.asked.append(ids)
        return [self.keys[id] for id in ids if id in self.keys]

    def changed(self, after: int, most: int) -> tuple[int, list[Key]]:
        self.before()
        found = [key for key in self.keys.values() if key.changed > after]
        return self.number, sorted(found, key=lambda key: -key.changed)[:most]


def a_key(text: str, changed: int = 1, **more: Any) -> Key:
    id = "key_" + text[3:15]
    return Key(id, "n", "acme", digest_of(text), NOW_US, changed=changed, **more)


def ring(*held: Key, now_us: Callable[[], int] = lambda: NOW_US) -> Keyring:
    return Keyring(Held(*held), now_us=now_us)  # type: ignore[arg-type]


async def identified(text: str, key: Key, now_us: int = NOW_US) -> Key | Refused:
    return await ring(key, now_us=lambda: now_us).identify(text)


# --- the text ------------------------------------------------------------------------------------


def test_a_key_has_200_bits_in_a_form_that_scanners_know() -> None:
    texts = {new_text(new_id()) for _ in range(500)}
    assert len(texts) == 500
    for text in texts:
        assert re.fullmatch(FORM, text)
        assert is_well_formed(text)
        assert looks_secret(f"key={text}")
        assert len(text.split("_")[2]) * 5 - 30 >= 192
    # Each digit may stand in each place.
    for place in range(16, 56):
        assert len({text[place] for text in texts}) == 32


def test_nothing_that_is_shown_or_logged_of_a_key_has_its_secret_or_its_hash() -> None:
    key, text = new_key({"tenant": "acme"}, NOW_US)
    told = repr(key) + str(shown(key, NOW_US)) + repr(Refused("expired", key)) + repr(key.caller)
    assert text[16:] not in told
    assert key.digest not in told
    assert not looks_secret(key.fingerprint)


@given(st.data())
async def test_no_mutated_key_passes(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TEXT)))
    piece = data.draw(st.text(max_size=3))
    end = data.draw(st.integers(place, len(TEXT)))
    mutated = TEXT[:place] + piece + TEXT[end:]
    found = await identified(mutated, a_key(TEXT))
    assert isinstance(found, Refused) is (mutated != TEXT)


@given(st.integers(0, len(TEXT) - 1), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_a_mistyped_character_is_seen_without_a_look_into_the_database(
    place: int, character: str
) -> None:
    mutated = TEXT[:place] + character + TEXT[place + 1 :]
    assert is_well_formed(mutated) is (mutated == TEXT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tk_",
        TEXT.upper(),
        TEXT + "\n",
        " " + TEXT,
        TEXT.replace("_", "-"),
        "tk_" * 99,
        "\ud800",
    ],
    ids=["empty", "prefix", "upper", "line", "blank", "dashes", "long", "surrogate"],
)
async def test_what_is_no_key_is_refused_without_a_question(text: str) -> None:
    held = Held(a_key(TEXT))
    found = await Keyring(held).identify(text)  # type: ignore[arg-type]
    assert (found, held.asked) == (MALFORMED, [])


def test_digests_are_compared_in_constant_time_and_nowhere_else() -> None:
    """By source: no `==` meets a digest; timing would only show it on a quiet machine."""
    for module in (keys, keyring):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Compare) and any(
                isinstance(operator, ast.Eq | ast.NotEq | ast.In) for operator in node.ops
            ):
                assert "digest" not in ast.unparse(node)
    assert "hmac.compare_digest" in inspect.getsource(keys.same)


async def test_the_comparison_is_the_one_that_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []

    def differ(one: str, other: str) -> bool:
        seen.append((one, other))
        return False

    monkeypatch.setattr("hmac.compare_digest", differ)
    assert await identified(TEXT, a_key(TEXT)) == UNKNOWN
    assert seen == [(digest_of(TEXT), digest_of(TEXT))]


# --- its time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "now_us", "reason"),
    [
        ({}, NOW_US, None),
        ({"expires_us": NOW_US + 1}, NOW_US, None),
        ({"expires_us": NOW_US}, NOW_US, "expired"),
        ({"revoked_us": NOW_US - 5}, NOW_US, "revoked"),
        ({"revoked_us": NOW_US - 5, "expires_us": 1}, NOW_US, "revoked"),
    ],
    ids=str,
)
async def test_a_key_is_good_for_its_time(
    more: dict[str, int], now_us: int, reason: str | None
) -> None:
    key = a_key(TEXT, **more)
    found = await identified(TEXT, key, now_us)
    assert found == (key if reason is None else Refused(reason, key))  # type: ignore[arg-type]
    # Whoever has another secret learns nothing of that.
    assert await identified(new_text(key.id), key, now_us) == UNKNOWN


@pytest.mark.parametrize(("now_us", "is_good"), [(NOW_US + 9, True), (NOW_US + 10, False)])
async def test_the_secret_of_before_is_good_for_its_grace(now_us: int, is_good: bool) -> None:
    new = new_text("key_0123456789ab")
    more: dict[str, Any] = {"previous_digest": digest_of(TEXT), "previous_until_us": NOW_US + 10}
    key = a_key(new, **more)
    assert await identified(new, key, now_us) is key
    assert await identified(TEXT, key, now_us) == (key if is_good else UNKNOWN)


# --- what a worker knows -------------------------------------------------------------------------


async def test_an_unknown_key_is_asked_for_once() -> None:
    known = ring(a_key(TEXT))
    other = new_text(new_id())
    for _ in range(3):
        assert await known.identify(other) == UNKNOWN
        assert isinstance(await known.identify(TEXT), Key)
    assert len(known.store.asked) == 2  # type: ignore[attr-defined]


async def test_a_key_that_comes_after_somebody_tried_it_is_found() -> None:
    known = ring()
    assert await known.identify(TEXT) == UNKNOWN
    held: Any = known.store
    held.keys, held.number = {"key_0123456789ab": a_key(TEXT, 1)}, 1
    await known.refresh()
    assert isinstance(await known.identify(TEXT), Key)


async def test_an_older_answer_never_undoes_a_revocation() -> None:
    """A lookup read the key, then came the revocation, then the lookup's answer."""
    good, ended = a_key(TEXT, 1), a_key(TEXT, 2, revoked_us=NOW_US)
    known = ring(good)
    held: Any = known.store
    find = held.find
    loop = asyncio.get_running_loop()

    def late(ids: Sequence[str]) -> list[Key]:
        found: list[Key] = find(ids)
        held.keys, held.number = {ended.id: ended}, 2
        asyncio.run_coroutine_threadsafe(known.refresh(), loop).result(10)
        return found

    held.find = late
    assert await known.identify(TEXT) == Refused("revoked", ended)


async def test_what_is_known_goes_on_while_the_store_is_down_and_the_rest_is_no_401() -> None:
    known = ring(a_key(TEXT))
    await known.refresh()
    held: Any = known.store

    def broken() -> None:
        raise StoreError("locked")

    held.before = broken
    await known.refresh()
    other = new_text(new_id())
    assert isinstance(await known.identify(TEXT), Key)
    assert await known.identify(other) == UNREADABLE
    held.before = lambda: None
    assert await known.identify(other) == UNKNOWN


async def test_a_store_that_hangs_keeps_nobody_longer_than_their_patience() -> None:
    import threading

    release = threading.Event()
    held = Held(a_key(TEXT))

    def hang() -> None:
        release.wait(10)

    held.before = hang
    known = Keyring(held, now_us=lambda: NOW_US, patience_s=0.01)  # type: ignore[arg-type]
    try:
        assert await known.identify(TEXT) == UNREADABLE
    finally:
        release.set()
    known._patience_s = 10
    assert isinstance(await known.identify(TEXT), Key)


async def test_another_database_is_read_anew() -> None:
    known = ring(a_key(TEXT, 7))
    held: Any = known.store
    held.number = 7
    await known.refresh()
    held.keys, held.number = {}, 1
    await known.refresh()
    assert await known.identify(TEXT) == UNKNOWN


# --- the database --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    open_database(folder).close()
    return folder


def test_a_key_comes_back_as_it_was_written(home: Path) -> None:
    store = StoredKeys(open_database(home))
    terms = {
        "name": "ci",
        "tenant": "acme",
        "team": "search",
        "user": "ana",
        "tier": "pro",
        "scopes": ["ai:read"],
        "models": ["openai/*", "gpt-4"],
        "rpm": "60",
        "tpm": 200_000,
        "expires": "30d",
    }
    key, text = new_key(terms, NOW_US)
    made = store.create(key, "cli")
    assert store.find([key.id, "key_other"]) == [made]
    assert made.expires_us == NOW_US + 30 * 24 * HOUR_US
    assert (made.rpm, made.tpm, made.caller.models) == (60, 200_000, ("openai/*", "gpt-4"))
    for file in home.glob(f"{FILE}*"):
        assert text[16:].encode() not in file.read_bytes()


def test_each_change_raises_the_number_and_is_audited_with_it(home: Path) -> None:
    database = open_database(home)
    store = StoredKeys(database, now_us=lambda: NOW_US)
    start, _ = store.changed(0, 100)
    key, text = new_key({"tenant": "acme"}, NOW_US)
    store.create(key, "admin")
    store.rotate(key.id, digest_of("b"), HOUR_US, "admin")
    rotated = store.rotate(key.id, digest_of("c"), HOUR_US, "key_x")
    assert rotated.matches(digest_of("b"), NOW_US)
    assert not rotated.matches(digest_of(text), NOW_US)
    revoked = store.revoke(key.id, "cli")
    assert store.revoke(key.id, "cli") == revoked
    assert not revoked.matches(digest_of("b"), NOW_US)
    assert store.changed(start, 100) == (start + 4, [revoked])
    assert store.changed(start + 4, 100) == (start + 4, [])
    with pytest.raises(RevokedError):
        store.rotate(key.id, digest_of("d"), 0, "cli")
    with pytest.raises(NoSuchKeyError):
        store.revoke("key_none", "cli")
    with database.reading() as reading:
        rows = reading.exec_driver_sql(
            "SELECT actor, action FROM audit WHERE object = ? ORDER BY number", (key.id,)
        ).all()
    assert [tuple(row) for row in rows] == [
        ("admin", "key.create"),
        ("admin", "key.rotate"),
        ("key_x", "key.rotate"),
        ("cli", "key.revoke"),
    ]


@pytest.mark.parametrize(
    "id", ["' OR 1=1 --", "key_'; DROP TABLE keys; --", "%", "\x00"], ids=ascii
)
def test_an_id_is_a_value_and_no_sql(home: Path, id: str) -> None:
    store = StoredKeys(open_database(home))
    assert store.find([id]) == []
    with pytest.raises(NoSuchKeyError):
        store.revoke(id, "cli")
    assert isinstance(store.all(id), list)


# --- what an operator writes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expires_us"),
    [
        ("30d", NOW_US + 720 * HOUR_US),
        ("12h", NOW_US + 12 * HOUR_US),
        ("2026-01-31", NOW_US + 31 * 24 * HOUR_US),  # to the end of that day
        ("2026-01-01T01:00:00Z", NOW_US + HOUR_US),
        ("2026-01-01T02:00:00+01:00", NOW_US + HOUR_US),
    ],
)
def test_a_key_expires_when_it_says(text: str, expires_us: int) -> None:
    key, _ = new_key({"tenant": "t", "expires": text}, NOW_US)
    assert key.expires_us == expires_us
    assert status(key, NOW_US) == "active"
    assert status(key, expires_us) == "expired"


@pytest.mark.parametrize(
    ("terms", "param", "told"),
    [
        ({}, "tenant", "needs a `tenant`"),
        ({"tenant": ""}, "tenant", "1 to 128"),
        ({"tenant": " a"}, "tenant", "printable"),
        ({"tenant": "acme\u200b"}, "tenant", "printable"),
        ({"tenant": "\uff41cme"}, "tenant", "look like others"),
        ({"tenant": "a", "team": "cafe\u0301"}, "team", "look like others"),
        ({"tenant": "a", "budget": 5}, "budget", "a key has no `budget`"),
        ({"tenant": "a", "scopes": ["ai:raed"]}, "scopes", "no scope `ai:raed`"),
        ({"tenant": "a", "scopes": []}, "scopes", "a list of 1"),
        ({"tenant": "a", "scopes": "admin"}, "scopes", "a list"),
        ({"tenant": "a", "models": ["a b"]}, "models", "no model"),
        ({"tenant": "a", "models": ["gpt-*"]}, "models", "no model"),
        ({"tenant": "a", "rpm": 0}, "rpm", "above 0"),
        ({"tenant": "a", "rpm": True}, "rpm", "above 0"),
        ({"tenant": "a", "tpm": "$5"}, "tpm", "above 0"),
        ({"tenant": "a", "expires": "2020-01-01"}, "expires", "over already"),
        ({"tenant": "a", "expires": "99999d"}, "expires", "over already"),
        ({"tenant": "a", "expires": "9999-12-31"}, "expires", "over already"),
        ({"tenant": "a", "expires": "soon"}, "expires", "not when"),
        ({"tenant": "a", "expires": 5}, "expires", "text"),
    ],
    ids=str,
)
def test_a_wrong_term_is_told_by_its_word(terms: dict[str, Any], param: str, told: str) -> None:
    with pytest.raises(WrongTerms) as caught:
        new_key(terms, NOW_US)
    assert caught.value.param == param
    assert told in caught.value.message


def test_a_grace_is_bounded() -> None:
    assert (grace_us("24h"), grace_us("0")) == (24 * HOUR_US, 0)
    for wrong in ("", "-1h", "100d", "5", "$5"):
        with pytest.raises(WrongTerms):
            grace_us(wrong)


# --- rows that somebody spoiled -------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoiled",
    [
        {"settings": "{"},
        {"settings": "[]"},
        {"settings": '{"scopes": [1]}'},
        {"settings": '{"scopes": "ai:read"}'},
        {"digest": b"\xff"},
        {"digest": ""},
        {"expires_us": "soon"},
        {"changed": "now"},
    ],
    ids=str,
)
async def test_a_row_that_cannot_be_read_is_no_key_and_hides_no_revocation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoiled: dict[str, Any]
) -> None:
    database = open_database(tmp_path)
    store = StoredKeys(database)
    ring = Keyring(store)
    texts = {}
    for name in ("broken", "good", "ended"):
        key, text = new_key({"tenant": "acme", "name": name}, NOW_US)
        texts[name] = (store.create(key, "cli").id, text)
    await ring.refresh()
    broken, ended = texts["broken"][0], texts["ended"][0]
    assert isinstance(await ring.identify(texts["broken"][1]), Key)
    await asyncio.to_thread(store.revoke, ended, "cli")
    with database.writing() as writing:
        newest = {"changed": 10**6} | spoiled
        writing.execute(update(KEYS).where(KEYS.c.id == broken).values(newest))
    with caplog.at_level("ERROR", logger="turnout.keys"):
        for reading in (ring, Keyring(StoredKeys(database))):
            await reading.refresh()
            assert await reading.identify(texts["broken"][1]) is UNKNOWN
            assert isinstance(await reading.identify(texts["good"][1]), Key)
            assert await reading.identify(texts["ended"][1]) == Refused(
                "revoked", reading.get(ended)
            )
        assert sorted(key.name for key in store.all()) == ["ended", "good"]
    assert sum(broken in told for told in caplog.messages) == 2, "once by each store"
    database.close()


async def test_a_key_whose_row_cannot_be_read_can_be_revoked_only(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    store, ring = StoredKeys(database), Keyring(StoredKeys(database))
    key, text = new_key({"tenant": "acme"}, NOW_US)
    store.create(key, "cli")
    await ring.refresh()
    with database.writing() as writing:
        writing.execute(update(KEYS).where(KEYS.c.id == key.id).values(settings="{"))
    with pytest.raises(SpoiledError):
        store.rotate(key.id, digest_of("b"), HOUR_US, "cli")
    store.revoke(key.id, "cli")
    await ring.refresh()
    assert await ring.identify(text) is UNKNOWN
    database.close()
