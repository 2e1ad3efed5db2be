"""What every kind of provider has: an address, a credential, and what its wire cannot carry."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection, Mapping
from copy import copy
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from turnout.engine.provider import Answer, Call, Chunk
from turnout.engine.request import Operation, OwnKey

from .reach import reach
from .upstream import Sign, Upstream, origin_of

_DATE = re.compile(r"-(\d{3,8}|\d{4}-\d\d-\d\d|\d\d-\d{4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Carries:
    """What a wire carries beyond text, parameters apart: a row of the table of providers.

    `signatures`: thinking survives a round trip through the client. `native`: the protocols beside
    chat that pass through as they are; the others are translated.
    """

    embeddings: bool = False
    images: bool = False
    image_urls: bool = False
    audio: bool = False
    documents: bool = False
    schemas: bool = True
    tools: bool = True
    reasoning: bool = False
    signatures: bool = False
    counts: bool = False
    native: frozenset[Operation] = frozenset()


class Kind(ABC):
    """A `Provider` of one kind; dialects subclass it with a wire, kinds with an address.

    `variables` are environment variables that it reads beside `key_variable`. `lacks` names the
    parameters of chat (see `parameters`) that it cannot honour, for any of its models. `partly`
    says in words what it refuses of those that it has, and `example` is a policy, where its address
    needs one; `lists` and `probes` say what is asked for its models, and to know whether it is
    there. All four stand in docs/providers.md.
    """

    kind: ClassVar[str]
    default_base_url: ClassVar[str | None]
    key_variable: ClassVar[str]
    needs_credential: ClassVar[bool] = True
    variables: ClassVar[tuple[str, ...]] = ()
    fixed_headers: ClassVar[Mapping[str, str]] = {}
    lacks: ClassVar[frozenset[str]] = frozenset()
    carries: ClassVar[Carries] = Carries()
    partly: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str] = ""
    lists: ClassVar[str] = "`GET /models`"
    probes: ClassVar[str] = "the same"

    def __init__(self, name: str, upstream: Upstream, missing: str | None = None) -> None:
        """Speak to this upstream under this provider name; `missing` is what it lacks for that."""
        self.name = name
        self._upstream = upstream
        self._missing = missing

    @property
    def place(self) -> str:
        """Its kind, the address that it is called at, and what its headers say, as a digest."""
        upstream = self._upstream
        return f"{self.kind} {upstream.origin}{upstream.path} {upstream.beside}"

    @property
    def usable(self) -> bool:
        """Whether nothing is missing for a call."""
        return self._missing is None

    @property
    def missing(self) -> str | None:
        """What it lacks to be called, such as `no credential`; None: it is usable."""
        return self._missing

    def owned(self, key: OwnKey) -> "Kind | None":
        """The same provider as it is for a caller with this key; None where the key is not for it.

        It is for the provider that it names only, and for that one's own origin: a gateway in
        front, however it is called, is somebody else.
        """
        if key.provider != self.kind or self._upstream.origin != self.home():
            return None
        try:
            upstream = self._upstream.owned(self.authorization(key.secret))
        except ValueError:  # no header can hold it
            return None
        theirs = copy(self)
        theirs._upstream, theirs._missing = upstream, None
        return theirs

    @classmethod
    def home(cls) -> str | None:
        """The origin of its own API: scheme, host and port; None where there is no one place.

        Where every account has an address of its own, or runs the server itself, nobody can tell
        whose it is.
        """
        if cls.default_base_url is None or not cls.needs_credential:
            return None
        return origin_of(cls.default_base_url)

    @classmethod
    def authorization(cls, credential: str) -> dict[str, str]:
        """The headers that carry a credential."""
        return {"authorization": f"Bearer {credential}"}

    @classmethod
    def prefix(cls, base_url: str) -> str:
        """What paths are appended to, for the address as it was written.

        An address without a path is left alone where a gateway in front may serve the API there;
        if it does not, `own_path` is what the refusal advises.
        """
        return base_url

    @classmethod
    def own_path(cls) -> str:
        """The path that its API has, such as `/v1`; empty where it has none."""
        return urlsplit(cls.default_base_url or "").path

    @classmethod
    def address(cls, variables: Mapping[str, str]) -> str | None:
        """Its own address, as the variables that are set make it; None: it has to be given."""
        return cls.default_base_url

    @classmethod
    def uncredentialed(cls, variables: Mapping[str, str]) -> str:
        """What is missing where neither key, header nor signature is there: which variable."""
        return "no credential"

    @classmethod
    def unplaced(cls, variables: Mapping[str, str]) -> str:
        """What is missing where there is no address: which variable."""
        return "no `base_url`"

    @classmethod
    def sign(cls, variables: Mapping[str, str]) -> Sign | None:
        """What signs each request, for a kind whose credential is no header; None: nothing."""
        return None

    @abstractmethod
    async def answer(self, call: Call) -> Answer:
        """Generation without streaming, or embeddings. Raises: ProviderError."""

    @abstractmethod
    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Generation as chunks. Raises: ProviderError, at any point."""

    async def count(self, call: Call) -> int | None:
        """The provider's own count of the prompt's tokens; None: it has none."""
        return None

    async def models(self, patience_us: int) -> list[str] | None:
        """The models that the provider lists, free of charge; None: it has no such call."""
        return None

    async def probe(self, patience_us: int) -> bool:
        """Ask for the least that says: reached, and the key is taken. Raises: ProviderError."""
        return await self.models(patience_us) is not None

    @classmethod
    def offers(cls, model: str, listed: Collection[str]) -> bool:
        """Whether a target's model may be among those that are listed, dates and aliases apart.

        True where a list would not say.
        """
        plain = model.removesuffix("-latest")
        return model in listed or any(_is_dated(one, plain) for one in listed)

    async def reach(self, patience_us: int) -> None:
        """Resolve its name and connect, without a word. Raises: Unreached."""
        await reach(self._upstream.origin, patience_us)


def _is_dated(listed: str, model: str) -> bool:
    """Whether one name is the other, or that with a date behind it: both mean one model."""
    short, long = sorted((listed, model), key=len)
    rest = long[len(short) :]
    return long.startswith(short) and (not rest or _DATE.fullmatch(rest) is not None)
