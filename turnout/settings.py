"""Where and how the gateway runs: the environment and the command line, read once at the start.

A flag wins over its variable, a variable over its default; an empty variable counts as not set.
What a policy file says is not here. `wiring` turns settings into objects.

Over 300 lines because each variable's rule stands beside what is said when it is broken.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeVar

from turnout.engine.keeping import LONGEST_STRETCH_DAYS, MIN_FREE_BYTES, Keeping
from turnout.engine.keys import digest_of
from turnout.engine.redaction import KNOWN

from . import credentials
from .credentials import Commands, Source, Unreadable

DEFAULT_POLICY = "routing.yml"

# The folder under TURNOUT_HOME in which the demo keeps what it did, apart from the real thing.
DEMO_FOLDER = "demo"

# Where the last good shadow is kept under TURNOUT_HOME: apart from policies, as it may be one.
SHADOW_FOLDER = "shadow"

# Where alerts of budgets go, and what signs them; each may be a `…_FILE` or a `…_COMMAND`.
ALERT_WEBHOOK, ALERT_SECRET = "TURNOUT_ALERT_WEBHOOK", "TURNOUT_ALERT_SECRET"

LOG_LEVELS = ("debug", "info", "warning", "error")

# Declared in the documentation, not built yet. Taking no notice of them would be a lie: a budget
# that nobody enforces, a database that nobody writes to.
_NOT_BUILT = (
    "TURNOUT_DATABASE_URL",
    "TURNOUT_MODE",
)

# Where the workers of several machines share answers.
REDIS_URL = "TURNOUT_REDIS_URL"

# Of the answers that a worker has in memory, and of those that all share on the disk (`cache:`).
CACHE_MEMORY_BYTES = 64 * 1024 * 1024
CACHE_DISK_BYTES = 1024 * 1024 * 1024

_ADMIN_KEY = "TURNOUT_ADMIN_KEY"
_ADMIN_CHARS = 16  # at least

# Whose value is a secret, by the variable's name; what stands in `…_FILE` is a name of a file.
_SECRET = re.compile(
    r"(?:KEYS?|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|WEBHOOK)(?:_URL|_ID)?$|BEARER_TOKEN",
    re.IGNORECASE,
)

_T = TypeVar("_T")


class SettingsError(Exception):
    """Settings that cannot be used; `problems` has one sentence for each, naming its variable."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Hold every problem found."""
        super().__init__("; ".join(problems))
        self.problems = problems


class Auth(Enum):
    """How callers are told apart.

    Not at all; by keys of this gateway; or by these, and else they bring a provider's.
    """

    OFF = "off"
    KEYS = "keys"
    PASSTHROUGH = "passthrough"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients can make one worker hold, and for how long.

    `header_us` is from a request's first byte to the end of its headers, and for the first byte of
    a connection; `idle_us` between two requests of one. `receive_us` bounds the time for a whole
    body, which after `grace_us` must have come at `least_bytes` a second or more; answers must be
    read at that rate, over each `stall_us` for which a client is behind. `drain_us` is what
    requests in flight get at shutdown, after `drain_delay_us` in which new ones still come in.
    `concurrency` is how many requests may be under way, `queue` how many may wait for that, for
    `queue_us`; `connections` how many clients may be connected. None: as many as open files allow.
    """

    body_bytes: int = 32 * 1024 * 1024
    header_us: int = 15_000_000
    idle_us: int = 120_000_000
    receive_us: int = 300_000_000
    grace_us: int = 10_000_000
    least_bytes: int = 1_000
    stall_us: int = 120_000_000
    drain_us: int = 30_000_000
    drain_delay_us: int = 0
    concurrency: int | None = None
    queue: int = 200
    queue_us: int = 1_000_000
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is decided before the first request.

    `policy` None: every known model gets what it asks for. `shadow` is a policy that decides beside
    it and acts on nothing. `policy_vars` are the variables outside
    `TURNOUT_VAR_…` that a policy file may read. `probe_us` is between two probes of a provider, 0:
    none is probed. Paid work is refused with less than `min_free_bytes` free on the home's disk.
    `key_refresh_us` is after how long keys in files and of commands are looked at
    again, 0: never by itself. With `tls_cert` and `tls_key` (PEM files, both or neither) it serves
    HTTPS alone. `monthly_nano_usd` is what `tenant` may spend a month where nobody else says it.
    Answers that are given again take `cache_memory_bytes` in each worker and `cache_disk_bytes`
    under the home, 0: none are kept there.
    `admin_digest` is of the operator's own key (`engine.keys.digest_of`), None: there
    is none.
    """

    home: Path
    policy: Path | None = None
    shadow: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    auth: Auth = Auth.OFF
    admin_digest: str | None = field(default=None, repr=False)
    tenant: str = "default"
    monthly_nano_usd: int | None = None
    cors_origins: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    policy_vars: tuple[str, ...] = ()
    log_level: str = "info"
    probe_us: int = 30_000_000
    min_free_bytes: int = MIN_FREE_BYTES
    keeping: Keeping = field(default_factory=Keeping)
    cache_memory_bytes: int = CACHE_MEMORY_BYTES
    cache_disk_bytes: int = CACHE_DISK_BYTES
    key_refresh_us: int = 300_000_000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limits: Limits = field(default_factory=Limits)
    # Addresses where kinds of providers are played, by kind. What the policy and the environment
    # say of their addresses, headers and keys is left out then. Only the demo does this.
    played: Mapping[str, str] = field(default_factory=dict)
    # Holds secrets: never in a repr, never in an error.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    # What `…_COMMAND` variables printed: no part of what was decided, as it may be another soon.
    commands: Commands = field(default_factory=Commands, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        environment: Mapping[str, str],
        *,
        policy: str | None = None,
        shadow: str | None = None,
        host: str | None = None,
        port: int | None = None,
        workers: int | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
    ) -> "Settings":
        """Settings from an environment and the flags that were given.

        Raises: SettingsError with every problem at once.
        """
        reader = _Reader(environment)
        commands = Commands()
        host = host or reader.read("TURNOUT_HOST", _host, "127.0.0.1")
        settings = cls(
            home=reader.path("TURNOUT_HOME") or Path("~/.turnout").expanduser(),
            policy=_policy(policy, reader),
            shadow=reader.path("TURNOUT_SHADOW") if shadow is None else Path(shadow),
            host=host,
            port=reader.flag(port, "--port", "TURNOUT_PORT", _port, 8080),
            workers=reader.flag(workers, "--workers", "TURNOUT_WORKERS", _workers, 1),
            auth=reader.authentication(host),
            admin_digest=reader.admin(commands),
            tenant=reader.read("TURNOUT_TENANT_ID", _tenant, "default"),
            monthly_nano_usd=reader.read("TURNOUT_BUDGET_MONTHLY_USD", _usd, None),
            cors_origins=frozenset(reader.list("TURNOUT_CORS_ORIGINS", _origin)),
            allowed_hosts=frozenset(reader.list("TURNOUT_ALLOWED_HOSTS", _allowed_host)),
            policy_vars=reader.list("TURNOUT_POLICY_VARS", _variable),
            log_level=reader.read("TURNOUT_LOG_LEVEL", _log_level, "info"),
            probe_us=reader.read("TURNOUT_PROBE_SECONDS", _seconds, 30_000_000),
            min_free_bytes=reader.read("TURNOUT_MIN_FREE_BYTES", _bytes, MIN_FREE_BYTES),
            keeping=reader.keeping(),
            cache_memory_bytes=reader.read(
                "TURNOUT_CACHE_MEMORY_BYTES", _bytes_or_none, CACHE_MEMORY_BYTES
            ),
            cache_disk_bytes=reader.read(
                "TURNOUT_CACHE_DISK_BYTES", _bytes_or_none, CACHE_DISK_BYTES
            ),
            key_refresh_us=reader.read("TURNOUT_KEY_REFRESH_SECONDS", _seconds, 300_000_000),
            tls_cert=reader.path("TURNOUT_TLS_CERT") if tls_cert is None else Path(tls_cert),
            tls_key=reader.path("TURNOUT_TLS_KEY") if tls_key is None else Path(tls_key),
            limits=Limits(
                body_bytes=reader.read("TURNOUT_MAX_BODY_BYTES", _positive, Limits().body_bytes),
                drain_us=reader.read("TURNOUT_DRAIN_SECONDS", _seconds, Limits().drain_us),
                drain_delay_us=reader.read(
                    "TURNOUT_DRAIN_DELAY_SECONDS", _seconds, Limits().drain_delay_us
                ),
                concurrency=reader.read("TURNOUT_MAX_CONCURRENCY", _count, None),
                queue=reader.read("TURNOUT_MAX_QUEUE", _count_or_none, Limits().queue),
                queue_us=reader.read("TURNOUT_QUEUE_SECONDS", _moment, Limits().queue_us),
                connections=reader.read("TURNOUT_MAX_CONNECTIONS", _count, None),
            ),
            environment=dict(environment),
            commands=commands,
        )
        reader.check_tls(settings.tls_cert, settings.tls_key)
        reader.check_not_built()
        if reader.problems:
            raise SettingsError(tuple(reader.problems))
        return settings

    @staticmethod
    def keeping_of(environment: Mapping[str, str]) -> Keeping:
        """How long records are kept, for commands that need nothing else. Raises: SettingsError."""
        reader = _Reader(environment)
        keeping = reader.keeping()
        if reader.problems:
            raise SettingsError(tuple(reader.problems))
        return keeping

    def credential(self, provider: str, variable: str | None = None) -> str | None:
        """The key for a provider: `OPENAI_API_KEY`, `…_API_KEY_FILE` or `…_API_KEY_COMMAND`.

        `variable` is for a provider whose usual variable is not `<PROVIDER>_API_KEY`. None: there
        is none. Raises: SettingsError as `secret` does.
        """
        return self.secret(
            variable or f"{provider.upper().replace('-', '_').replace('.', '_')}_API_KEY"
        )

    def secret(self, name: str) -> str | None:
        """The text of a variable, of the file `<name>_FILE`, or that `<name>_COMMAND` prints.

        None: none of them is set. A file is read at every call, so that a rotated key is found;
        what a command printed is kept until `commands.renew`.
        Raises: SettingsError if two are set, the file cannot be read, or the command fails.
        """
        try:
            found = credentials.read(self.environment, name, self.commands)
        except Unreadable as error:
            raise SettingsError((str(error),)) from None
        if is_secret(name):
            KNOWN.learn(found)  # the log must not show it from now on, wherever it comes from
        return found

    def source(self, name: str) -> Source | None:
        """Which of the three a secret is given by. Raises: SettingsError if by two."""
        try:
            return credentials.source(self.environment, name)
        except Unreadable as error:
            raise SettingsError((str(error),)) from None

    def secrets(self) -> list[str]:
        """The values of variables that are secrets by their names: to know what must not be shown.

        Those in files and of commands are not among them; who reads one knows it then.
        """
        return secret_values(self.environment)

    @property
    def looks_again(self) -> bool:
        """Whether there is anything that is read again when somebody asks for it."""
        return self.policy is not None or self.tls_cert is not None or self.has_keys_that_rotate

    @property
    def has_keys_that_rotate(self) -> bool:
        """Whether a secret may become another while the gateway serves."""
        return any(
            value.strip() and name.endswith(("_FILE", "_COMMAND")) and is_secret(name)
            for name, value in self.environment.items()
        )


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """The values of variables that are secrets by their names."""
    return [
        value
        for name, value in environment.items()
        if is_secret(name) and not name.endswith(("_FILE", "_COMMAND"))
    ]


def is_secret(name: str) -> bool:
    """Whether what a variable of this name says, or where that is, is a secret."""
    return _SECRET.search(name.removesuffix("_FILE").removesuffix("_COMMAND")) is not None


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own and no other's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Reader:
    """Reads variables and keeps what is wrong with them, so that all of it is told at once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[str] = []

    def text(self, name: str) -> str | None:
        return self._environment.get(name, "").strip() or None

    def path(self, name: str) -> Path | None:
        text = self.text(name)
        return Path(text).expanduser() if text is not None else None

    def read(self, name: str, read: Callable[[str], _T], default: _T) -> _T:
        text = self.text(name)
        if text is None:
            return default
        try:
            return read(text)
        except ValueError as problem:
            self.problems.append(f"`{name}` is `{text}`: {problem}")
            return default

    def flag(
        self, given: int | None, flag: str, name: str, read: Callable[[str], int], default: int
    ) -> int:
        if given is None:
            return self.read(name, read, default)
        try:
            return read(str(given))
        except ValueError as problem:
            self.problems.append(f"`{flag}` is `{given}`: {problem}")
            return default

    def list(self, name: str, read: Callable[[str], str]) -> tuple[str, ...]:
        items = [item.strip() for item in (self.text(name) or "").split(",")]
        found = []
        for item in filter(None, items):
            try:
                found.append(read(item))
            except ValueError as problem:
                self.problems.append(f"`{name}` has `{item}`: {problem}")
        return tuple(dict.fromkeys(found))

    def authentication(self, host: str) -> Auth:
        """The mode: on loopback `off` where nothing is said, elsewhere `keys`."""
        mode = self.read("TURNOUT_AUTH", _auth, Auth.OFF if is_loopback(host) else Auth.KEYS)
        if (
            mode is Auth.OFF
            and not is_loopback(host)
            and self.text("TURNOUT_AUTH_OFF_CONFIRM") != "yes"
        ):
            self.problems.append(
                f"the address `{host}` can be reached from other machines, and `TURNOUT_AUTH=off` "
                "lets everybody there spend: leave it out, so that callers need keys "
                "(`turnout keys create` makes them), or, if something in front of the gateway "
                "authenticates them, set `TURNOUT_AUTH_OFF_CONFIRM=yes` too"
            )
        return mode

    def admin(self, commands: Commands) -> str | None:
        """The digest of the operator's own key."""
        try:
            key = credentials.read(self._environment, _ADMIN_KEY, commands)
        except Unreadable as error:
            self.problems.append(str(error))
            return None
        if key is None:
            return None
        if len(key) < _ADMIN_CHARS or not key.isascii() or not key.isprintable():
            self.problems.append(
                f"`{_ADMIN_KEY}` can be guessed or cannot be sent: write at least {_ADMIN_CHARS} "
                "characters of ASCII, best random ones (`openssl rand -hex 32`)"
            )
        return digest_of(key)

    def check_tls(self, cert: Path | None, key: Path | None) -> None:
        if (cert is None) != (key is None):
            given, lacking = ("cert", "key") if key is None else ("key", "cert")
            self.problems.append(
                f"`--tls-{given}` (`TURNOUT_TLS_{given.upper()}`) is given, and `--tls-{lacking}` "
                f"(`TURNOUT_TLS_{lacking.upper()}`) is not: HTTPS needs both"
            )

    def keeping(self) -> Keeping:
        usual = Keeping()
        return Keeping(
            self.read("TURNOUT_KEEP_LEDGER_DAYS", _ledger_days, usual.ledger_days),
            self.read("TURNOUT_KEEP_JOURNAL_DAYS", _days, usual.journal_days),
            self.read("TURNOUT_KEEP_AUDIT_DAYS", _days, usual.audit_days),
        )

    def check_not_built(self) -> None:
        self.problems += [
            f"`{name}` is set, and this version cannot do what it asks for; unset it"
            for name in _NOT_BUILT
            if self.text(name) is not None
        ]


def _auth(text: str) -> Auth:
    try:
        return Auth(text)
    except ValueError:
        raise ValueError("write `off`, `keys` or `passthrough`") from None


def _policy(flag: str | None, reader: _Reader) -> Path | None:
    if flag is not None:
        return Path(flag)
    named = reader.path("TURNOUT_POLICY")
    if named is not None:
        return named
    return Path(DEFAULT_POLICY) if Path(DEFAULT_POLICY).exists() else None


def _host(text: str) -> str:
    if "://" in text or "/" in text or any(c.isspace() for c in text):
        raise ValueError("write a host name or an address, such as `127.0.0.1`")
    return text.strip("[]")


def _port(text: str) -> int:
    if "://" in text:
        # Kubernetes sets TURNOUT_PORT=tcp://… in every pod beside a service named `turnout`.
        raise ValueError(
            "write a number from 0 to 65535 (Kubernetes sets it for a service named `turnout`; "
            "`enableServiceLinks: false` in the pod stops that)"
        )
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise ValueError("write a number from 0 to 65535; 0 takes any free port")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 256):
        raise ValueError("write a number of processes from 1 to 256")
    return int(text)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise ValueError("write a whole number above 0, of at most 18 digits")
    return int(text)


def _bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ValueError("write a whole number of bytes, of at most 18 digits; 0 keeps none free")
    return int(text)


def _bytes_or_none(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise ValueError("write a whole number of bytes, of at most 15 digits; 0 keeps nothing")
    return int(text)


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise ValueError("write a whole number of days, of at most 5 digits; 0 keeps for ever")
    return int(text)


def _ledger_days(text: str) -> int:
    days = _days(text)
    if 0 < days < LONGEST_STRETCH_DAYS:
        raise ValueError(
            f"write {LONGEST_STRETCH_DAYS} days or more, since budgets of a month are counted from "
            "the ledger; 0 keeps it for ever"
        )
    return days


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 86_400):
        raise ValueError("write a whole number of seconds, at most 86400")
    return int(text) * 1_000_000


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and int(text) > 0):
        raise ValueError("write a whole number above 0, of at most 6 digits")
    return int(text)


def _count_or_none(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise ValueError("write a whole number of at most 6 digits; 0 lets nobody wait")
    return int(text)


def _moment(text: str) -> int:
    whole, _, part = text.partition(".")
    digits = whole + part
    if not (digits.isascii() and digits.isdigit() and len(whole) <= 2 and len(part) <= 3):
        raise ValueError("write seconds below 100, such as `1` or `0.25`")
    return int(whole or "0") * 1_000_000 + int(part.ljust(6, "0"))


def _tenant(text: str) -> str:
    if len(text) > 128 or not text.isprintable():
        raise ValueError("write a name of at most 128 printable characters")
    return text


def _usd(text: str) -> int:
    whole, _, part = text.partition(".")
    digits = (whole + part).isascii() and (whole + part).isdigit()
    if not (whole and digits and len(whole) <= 9 and len(part) <= 9 and int(whole + part) > 0):
        raise ValueError(
            "write an amount of US dollars above 0, such as `100` or `99.50`, without a sign and "
            "with at most 9 decimals"
        )
    return int(whole) * 1_000_000_000 + int(part.ljust(9, "0"))


def _origin(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if scheme not in ("http", "https") or not separator or not rest or "/" in rest or "*" in rest:
        raise ValueError(
            "write a whole origin, such as `https://app.example.com`, without a path and without "
            "`*`: any page of that origin may then spend"
        )
    return text.lower()


def _allowed_host(text: str) -> str:
    if "/" in text or "*" in text or any(c.isspace() for c in text):
        raise ValueError("write a host name, such as `gateway.example.com`, without `*` or a path")
    return host_name(text)


def _variable(text: str) -> str:
    if not text.isidentifier():
        raise ValueError("write the name of an environment variable")
    return text


def _log_level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"write one of {', '.join(f'`{level}`' for level in LOG_LEVELS)}")
    return text.lower()


def host_name(authority: str) -> str:
    """The host of an authority such as `LOCALHOST:8080` or `[::1]:80`, in lower case."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0].lower()
    host, colon, port = authority.rpartition(":")
    # A bare IPv6 address has colons too, and no port.
    return (host if colon and port.isdigit() and ":" not in host else authority).lower()
