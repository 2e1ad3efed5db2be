"""Settings: what wins, what is refused, and that no secret shows."""

import pickle
from pathlib import Path

import pytest

from turnout.engine.keys import digest_of
from turnout.settings import Auth, Settings, SettingsError, host_name, is_loopback


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_serve_this_machine_alone() -> None:
    settings = Settings.load({})
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8080, 1)
    assert settings.policy is None
    assert settings.home == Path("~/.turnout").expanduser()
    assert settings.tenant == "default"
    assert is_loopback(settings.host)


def test_a_flag_wins_over_its_variable_and_an_empty_variable_is_none() -> None:
    environment = {
        "TURNOUT_HOST": "::1",
        "TURNOUT_PORT": "9000",
        "TURNOUT_WORKERS": "3",
        "TURNOUT_POLICY": "a.yml",
        "TURNOUT_LOG_LEVEL": " ",
        "TURNOUT_TENANT_ID": "acme",
        "TURNOUT_CORS_ORIGINS": "https://a.example, https://b.example ,",
        "TURNOUT_ALLOWED_HOSTS": "GW.example.com:443",
        "TURNOUT_DRAIN_SECONDS": "0",
        "TURNOUT_MAX_BODY_BYTES": "1000",
        "TURNOUT_MAX_CONCURRENCY": "7",
        "TURNOUT_MAX_QUEUE": "0",
        "TURNOUT_QUEUE_SECONDS": "0.25",
        "TURNOUT_MAX_CONNECTIONS": "9",
        "TURNOUT_DRAIN_DELAY_SECONDS": "5",
        "TURNOUT_CACHE_MEMORY_BYTES": "1000",
        "TURNOUT_CACHE_DISK_BYTES": "0",
    }
    settings = Settings.load(environment)
    assert (settings.host, settings.port, settings.workers) == ("::1", 9000, 3)
    assert settings.policy == Path("a.yml")
    assert settings.log_level == "info"
    assert settings.tenant == "acme"
    assert settings.cors_origins == {"https://a.example", "https://b.example"}
    assert settings.allowed_hosts == {"gw.example.com"}
    assert (settings.limits.drain_us, settings.limits.body_bytes) == (0, 1000)
    limits = settings.limits
    assert (limits.concurrency, limits.queue, limits.connections) == (7, 0, 9)
    assert (limits.queue_us, limits.drain_delay_us) == (250_000, 5_000_000)
    assert (settings.cache_memory_bytes, settings.cache_disk_bytes) == (1000, 0)
    flags = Settings.load(environment, policy="b.yml", host="localhost", port=0, workers=1)
    assert (flags.host, flags.port, flags.workers) == ("localhost", 0, 1)
    assert flags.policy == Path("b.yml")


def test_a_policy_of_the_usual_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "routing.yml").touch()
    assert Settings.load({}).policy == Path("routing.yml")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TURNOUT_PORT", "http", "from 0 to 65535"),
        ("TURNOUT_PORT", "70000", "from 0 to 65535"),
        ("TURNOUT_PORT", "tcp://10.0.0.1:8080", "enableServiceLinks"),
        ("TURNOUT_WORKERS", "0", "from 1 to 256"),
        ("TURNOUT_HOST", "http://localhost", "a host name or an address"),
        ("TURNOUT_AUTH", "on", "write `off`, `keys` or `passthrough`"),
        ("TURNOUT_ADMIN_KEY", "secret-but-few", "at least 16 characters"),
        ("TURNOUT_ADMIN_KEY", "secret with an ümlaut", "at least 16 characters"),
        ("TURNOUT_ADMIN_KEY_FILE", "/does/not/exist", "cannot be read"),
        ("TURNOUT_CORS_ORIGINS", "*", "a whole origin"),
        ("TURNOUT_CORS_ORIGINS", "https://a.example/path", "a whole origin"),
        ("TURNOUT_ALLOWED_HOSTS", "*.example.com", "without `*`"),
        ("TURNOUT_LOG_LEVEL", "loud", "`debug`"),
        ("TURNOUT_DRAIN_SECONDS", "-1", "seconds"),
        ("TURNOUT_DRAIN_DELAY_SECONDS", "5s", "seconds"),
        ("TURNOUT_MAX_BODY_BYTES", "32M", "whole number"),
        ("TURNOUT_CACHE_MEMORY_BYTES", "64MiB", "0 keeps nothing"),
        ("TURNOUT_CACHE_DISK_BYTES", "-1", "0 keeps nothing"),
        ("TURNOUT_MAX_CONCURRENCY", "0", "above 0"),
        ("TURNOUT_MAX_CONCURRENCY", "many", "whole number"),
        ("TURNOUT_MAX_CONNECTIONS", "10000000", "at most 6 digits"),
        ("TURNOUT_MAX_QUEUE", "-1", "0 lets nobody wait"),
        ("TURNOUT_QUEUE_SECONDS", "100", "below 100"),
        ("TURNOUT_QUEUE_SECONDS", "0.1234", "below 100"),
        ("TURNOUT_QUEUE_SECONDS", "250ms", "below 100"),
        ("TURNOUT_QUEUE_SECONDS", ".", "below 100"),
        ("TURNOUT_POLICY_VARS", "A B", "environment variable"),
        ("TURNOUT_DATABASE_URL", "postgresql://u:secret@h/d", "cannot do what it asks for"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({name: value})
    (problem,) = caught.value.problems
    assert told in problem
    assert name in problem or value in problem
    assert "secret" not in problem


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load(
            {"TURNOUT_PORT": "x", "TURNOUT_WORKERS": "y", "TURNOUT_AUTH": "off"}, host="0.0.0.0"
        )
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "environment",
    [
        {"TURNOUT_AUTH": "off"},
        {"TURNOUT_AUTH": "off", "TURNOUT_AUTH_OFF_CONFIRM": "true"},
    ],
    ids=str,
)
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "gateway.internal"])
def test_serving_others_without_keys_needs_both_words(
    environment: dict[str, str], host: str
) -> None:
    with pytest.raises(SettingsError, match=r"TURNOUT_AUTH=off.*TURNOUT_AUTH_OFF_CONFIRM=yes"):
        Settings.load(environment, host=host)
    both = {"TURNOUT_AUTH": "off", "TURNOUT_AUTH_OFF_CONFIRM": "yes"}
    assert Settings.load(both, host=host).auth is Auth.OFF


@pytest.mark.parametrize(
    ("host", "mode", "auth"),
    [
        ("127.0.0.1", None, Auth.OFF),
        ("::1", None, Auth.OFF),
        ("localhost", None, Auth.OFF),
        ("0.0.0.0", None, Auth.KEYS),
        ("gateway.internal", None, Auth.KEYS),
        ("127.0.0.1", "keys", Auth.KEYS),
        ("127.0.0.1", "passthrough", Auth.PASSTHROUGH),
        ("0.0.0.0", "passthrough", Auth.PASSTHROUGH),
    ],
)
def test_callers_need_keys_wherever_others_can_reach(
    host: str, mode: str | None, auth: Auth
) -> None:
    environment = {} if mode is None else {"TURNOUT_AUTH": mode}
    assert Settings.load(environment, host=host).auth is auth
    # The word alone, without `off`, opens nothing.
    confirmed = environment | {"TURNOUT_AUTH_OFF_CONFIRM": "yes"}
    assert Settings.load(confirmed, host=host).auth is auth


def test_the_admin_key_is_kept_as_a_digest(tmp_path: Path) -> None:
    file = tmp_path / "admin"
    file.write_text("0123456789abcdef\n")
    told = Settings.load({"TURNOUT_ADMIN_KEY": "0123456789abcdef"})
    read = Settings.load({"TURNOUT_ADMIN_KEY_FILE": str(file)})
    assert told.admin_digest == read.admin_digest == digest_of("0123456789abcdef")
    assert "0123456789abcdef" not in repr(told)
    assert told.admin_digest not in repr(told)
    assert Settings.load({}).admin_digest is None


def test_credentials_come_from_variables_and_files(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")
    settings = Settings.load(
        {
            "OPENAI_API_KEY": " from-variable ",
            "GROQ_API_KEY_FILE": str(file),
            "MY_OWN_API_KEY": "mine",
            "SPECIAL": "named",
            "EMPTY_API_KEY": "",
        }
    )
    assert settings.credential("openai") == "from-variable"
    assert settings.credential("groq") == "from-file"
    assert settings.credential("my-own") == "mine"
    assert settings.credential("x", "SPECIAL") == "named"
    assert settings.credential("empty") is None
    assert settings.credential("anthropic") is None
    file.write_text("rotated")
    assert settings.credential("groq") == "rotated"


@pytest.mark.parametrize(
    "environment",
    [
        {"OPENAI_API_KEY_FILE": "/does/not/exist"},
        {"OPENAI_API_KEY_FILE": "."},
        {"OPENAI_API_KEY": "sk-secret", "OPENAI_API_KEY_FILE": "x"},
    ],
    ids=str,
)
def test_a_key_that_cannot_be_read_is_told_by_its_variable(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY_FILE") as caught:
        Settings.load(environment).credential("openai")
    assert "sk-secret" not in str(caught.value)


def test_no_secret_is_in_a_repr_and_settings_travel_to_workers() -> None:
    settings = Settings.load({"OPENAI_API_KEY": "sk-secret"})
    assert "sk-secret" not in repr(settings) + str(settings)
    assert pickle.loads(pickle.dumps(settings)).credential("openai") == "sk-secret"


@pytest.mark.parametrize(
    ("authority", "name", "loopback"),
    [
        ("LOCALHOST:8080", "localhost", True),
        ("[::1]:80", "::1", True),
        ("::1", "::1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("example.com:443", "example.com", False),
        ("0.0.0.0:80", "0.0.0.0", False),
    ],
)
def test_the_host_of_an_authority(authority: str, name: str, loopback: bool) -> None:
    assert host_name(authority) == name
    assert is_loopback(name) is loopback
