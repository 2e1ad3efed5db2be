"""What looks like a secret, and what is known to be one, does not come through."""

import base64
import json
import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.engine.redaction import LONGEST, REMOVED, SHORTEST, Secrets

# Made up, in the forms of the real ones; `#` stands for what must be gone.
LOOKING: tuple[tuple[str, str], ...] = (
    ("the key tk_AbCdEfGhIjKlMnOp_rest is unknown", "tk_AbCdEfGhIjKlMnOp_rest"),
    ("Incorrect API key provided: sk-proj-abcdefgh12345678.", "sk-proj-abcdefgh"),
    ("invalid x-api-key sk-ant-api03-abcdefgh-ij", "sk-ant-api03-abcdefgh-ij"),
    ("gsk_abcdefgh12345678", "gsk_abcdefgh12345678"),
    ("xai-abcdefgh12345678", "xai-abcdefgh12345678"),
    ("API key AIzaSyA-abcdefghijklmnopqrstuvw not valid", "AIzaSyA"),
    ("token ya29.abcdefghijklmnop1234", "ya29."),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7"),
    ("AWS4-HMAC-SHA256 Credential=AKI/2, Signature=abcdef", "Signature"),
    ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
    ("authorization='Basic dXNlcjpwYXNzd29yZA=='", "dXNlcjpwYXNzd29yZA"),
    ("{'x-api-key': 'short'}", "short"),
    ("(b'authorization', b'Bearer abcdefgh12345678')", "abcdefgh12345678"),
    ("Cookie: sid=12345", "12345"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "eyJ"),
    ("GET https://x.example/v1?key=abc123&alt=sse failed", "abc123"),
    ("https://x.example/v1?a=1&api_key=abc123", "abc123"),
    ("https://x.example/?X-Amz-Signature=abc123", "abc123"),
    ("proxy http://user:pa55@proxy.example:3128", "pa55"),
    ("-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----", "MIIabc"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIabc", "MIIabc"),
)

HARMLESS = (
    "2026-11-21 10:00:00 INFO turnout.server: worker 12 is draining: 3 requests under way",
    "req_0123456789abcdef: openai/gpt-4o failed: rate_limit, status 429, the provider is busy",
    "revision 3 of routing.yml is in force (sha256:0123456789abcdef)",
    'File "/app/turnout/engine/chain.py", line 12, in run',
    "the provider `openai` is not well: the key is refused",
    "https://gateway.example:8080/v1/models?limit=3",
    "task-force, sketch, disk-full, basic routing, bearer of news",
    "token count 12, key of tenant acme: key_01h2",
)


@pytest.mark.parametrize(("text", "secret"), LOOKING, ids=[secret for _, secret in LOOKING])
def test_what_looks_like_a_secret_is_cut_out(text: str, secret: str) -> None:
    told = Secrets().cut(text)
    assert secret not in told
    assert REMOVED in told


@pytest.mark.parametrize("text", HARMLESS)
def test_what_a_log_needs_stays(text: str) -> None:
    assert Secrets().cut(text) == text


SECRETS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=SHORTEST)


@given(secret=SECRETS, before=st.text(max_size=4), after=st.text(max_size=4))
def test_a_known_secret_is_cut_out_in_every_form(secret: str, before: str, after: str) -> None:
    net = Secrets([secret])
    for form in (secret, quote(secret, safe=""), json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert form not in net.cut(f"{before} {form} {after}").replace(REMOVED, "")


@given(
    secret=st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=16, max_size=40),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
)
def test_a_known_secret_is_cut_out_of_base64(secret: str, before: bytes, after: bytes) -> None:
    net = Secrets([secret])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(before + secret.encode() + after).decode()
        left = net.cut(f"told: {whole}").partition("told: ")[2]
        # What stays holds bytes of what stood around, and at most a part of one of the secret's.
        assert len(left.replace(REMOVED, "")) <= 2 + 4 * (len(before) + len(after)) // 3 + 8


@pytest.mark.parametrize(
    "shown", ["correct-horse…", "correct-horse***ple", "correct-horse-battery"]
)
def test_the_beginning_of_a_known_secret_is_cut_out_with_what_follows(shown: str) -> None:
    net = Secrets(["correct-horse-battery-staple"])
    assert net.cut(f"you sent {shown} here") == f"you sent {REMOVED} here"


def test_a_short_word_that_is_somebodys_key_is_left_where_it_stands() -> None:
    net = Secrets(["any", "test", ""])
    assert net.cut("any test of many") == "any test of many"


def test_a_long_text_ends_where_no_secret_is_cut_in_two() -> None:
    secret = "correct-horse-battery-staple"
    text = "x" * (LONGEST - 10) + f" {secret} " + "y" * 1000
    told = Secrets([secret]).cut(text)
    assert "correct" not in told
    assert len(told) < LONGEST + 100


def test_neither_a_repr_nor_a_pickle_holds_a_secret() -> None:
    net = Secrets(["correct-horse-battery-staple"])
    assert "horse" not in repr(net)
    assert b"horse" not in pickle.dumps(net)
    assert "horse" in pickle.loads(pickle.dumps(net)).cut("horse")
