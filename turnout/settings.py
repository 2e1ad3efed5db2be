"""Where and how the gateway runs: the environment and the command line, read once at the start.

A flag wins over its variable, a variable over its default; an empty variable counts as not set.
What a policy file says is not here. `wiring` turns settings into objects.

Over 300 lines because each variable's rule stands beside what is said when it is broken.
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeVar

DEFAULT_POLICY = "routing.yml"

# The folder under TURNOUT_HOME in which the demo keeps what it did, apart from the real thing.
DEMO_FOLDER = "demo"

# Where the last good shadow is kept under TURNOUT_HOME: apart from policies, as it may be one.
SHADOW_FOLDER = "shadow"

LOG_LEVELS = ("debug", "info", "warning", "error")

# Declared in the documentation, not built yet. Taking no notice of them would be a lie: a budget
# that nobody enforces, a database that nobody writes to.
_NOT_BUILT = (
    "TURNOUT_ADMIN_KEY",
    "TURNOUT_BUDGET_MONTHLY_USD",
    "TURNOUT_DATABASE_URL",
    "TURNOUT_MODE",
    "TURNOUT_REDIS_URL",
)

_T = TypeVar("_T")


class SettingsError(Exception):
    """Settings that cannot be used; `problems` has one sentence for each, naming its variable."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        """Hold every problem found."""
        super().__init__("; ".join(problems))
        self.problems = problems


class Auth(Enum):
    """How callers are told apart. `keys` and `passthrough` are not built yet."""

    OFF = "off"


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
    none is probed.
    """

    home: Path
    policy: Path | None = None
    shadow: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    auth: Auth = Auth.OFF
    tenant: str = "default"
    cors_origins: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    policy_vars: tuple[str, ...] = ()
    log_level: str = "info"
    probe_us: int = 30_000_000
    limits: Limits = field(default_factory=Limits)
    # Addresses where kinds of providers are played, by kind. What the policy and the environment
    # say of their addresses, headers and keys is left out then. Only the demo does this.
    played: Mapping[str, str] = field(default_factory=dict)
    # Holds secrets: never in a repr, never in an error.
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

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
    ) -> "Settings":
        """Settings from an environment and the flags that were given.

        Raises: SettingsError with every problem at once.
        """
        reader = _Reader(environment)
        settings = cls(
            home=reader.path("TURNOUT_HOME") or Path("~/.turnout").expanduser(),
            policy=_policy(policy, reader),
            shadow=reader.path("TURNOUT_SHADOW") if shadow is None else Path(shadow),
            host=host or reader.read("TURNOUT_HOST", _host, "127.0.0.1"),
            port=reader.flag(port, "--port", "TURNOUT_PORT", _port, 8080),
            workers=reader.flag(workers, "--workers", "TURNOUT_WORKERS", _workers, 1),
            auth=Auth.OFF,
            tenant=reader.read("TURNOUT_TENANT_ID", _tenant, "default"),
            cors_origins=frozenset(reader.list("TURNOUT_CORS_ORIGINS", _origin)),
            allowed_hosts=frozenset(reader.list("TURNOUT_ALLOWED_HOSTS", _allowed_host)),
            policy_vars=reader.list("TURNOUT_POLICY_VARS", _variable),
            log_level=reader.read("TURNOUT_LOG_LEVEL", _log_level, "info"),
            probe_us=reader.read("TURNOUT_PROBE_SECONDS", _seconds, 30_000_000),
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
        )
        reader.check_authentication(settings.host)
        reader.check_not_built()
        if reader.problems:
            raise SettingsError(tuple(reader.problems))
        return settings

    def credential(self, provider: str, variable: str | None = None) -> str | None:
        """The key for a provider: `OPENAI_API_KEY`, or the text of the file `…_API_KEY_FILE`.

        `variable` is for a provider whose usual variable is not `<PROVIDER>_API_KEY`. None: there
        is none. The file is read again at every call, so that a rotated key is found.
        Raises: SettingsError if both are set, or the file cannot be read.
        """
        name = variable or f"{provider.upper().replace('-', '_').replace('.', '_')}_API_KEY"
        key = self.environment.get(name, "").strip()
        file = self.environment.get(f"{name}_FILE", "").strip()
        if key and file:
            raise SettingsError((f"both `{name}` and `{name}_FILE` are set; unset one of them",))
        if key or not file:
            return key or None
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()
            raise SettingsError(
                (f"`{name}_FILE` names a file that cannot be read, `{file}`: {reason}",)
            ) from None
        return text or None


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

    def check_authentication(self, host: str) -> None:
        mode = self.text("TURNOUT_AUTH")
        if mode is not None and mode not in ("off", "keys", "passthrough"):
            self.problems.append(
                f"`TURNOUT_AUTH` is `{mode}`: write `off` (`keys` and `passthrough` are not "
                "built yet)"
            )
        elif mode in ("keys", "passthrough"):
            self.problems.append(
                f"`TURNOUT_AUTH` is `{mode}`, which is not built yet: write `off` and let only "
                "this machine, or something that authenticates callers, reach the gateway"
            )
        elif not is_loopback(host) and (
            mode is None or self.text("TURNOUT_AUTH_OFF_CONFIRM") != "yes"
        ):
            self.problems.append(
                f"the address `{host}` can be reached from other machines, and this version "
                "cannot check callers' keys: serve on 127.0.0.1, or, if something in front of the "
                "gateway authenticates callers, set `TURNOUT_AUTH=off` and "
                "`TURNOUT_AUTH_OFF_CONFIRM=yes`"
            )

    def check_not_built(self) -> None:
        self.problems += [
            f"`{name}` is set, and this version cannot do what it asks for; unset it"
            for name in _NOT_BUILT
            if self.text(name) is not None
        ]


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
