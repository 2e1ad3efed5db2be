"""What an operator writes of a tenant, as JSON: read strictly, kept in the form it is shown in.

    {"tier": "pro", "rpm": 600, "tpm": 200000, "concurrency": 8,
     "budgets": [{"limit": "$100/month", "at": {"80%": "alert", "100%": "reject"}}]}

The words are those of `tenants:` and `budgets:` of a policy. An unknown one is refused, so that
nobody relies on what is not there. Only this module knows pydantic; importing it takes 0.2 s.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from turnout.dsl.core import Budget, Program, Tenant
from turnout.dsl.nearest import listed, suggestion
from turnout.dsl.schema import Type
from turnout.dsl.source import Source, Span
from turnout.dsl.units import format_value, parse_quantity

from .accounts import Account

MOST_BUDGETS = 50
NAME_CHARS = 128
_MOST = 10**15
_MOST_NANO_USD = 10**18  # a billion dollars; counters and their sums have 63 bits
_PERIODS = ("day", "week", "month")
_ALLOWANCE = re.compile(r"(\S+?)\s*/\s*([A-Za-z]+)")
# What else is written for some of the words.
_MEANT = {
    "budget": "budgets",
    "rate": "rpm",
    "requests_per_minute": "rpm",
    "tokens_per_minute": "tpm",
    "max_concurrency": "concurrency",
    "parallel": "concurrency",
    "amount": "limit",
    "max": "limit",
    "id": "name",
    "for": "of",
    "steps": "at",
}

_Found = Literal["alert", "reject"]


class WrongSettings(Exception):
    """Settings that cannot be; `param` is the first word that is to blame, as a path."""

    def __init__(self, message: str, param: str | None = None) -> None:
        """Hold what is wrong, as sentences."""
        super().__init__(message)
        self.message = message
        self.param = param


def _wrong(message: str) -> PydanticCustomError:
    return PydanticCustomError("turnout", "{told}", {"told": message})


def _count(value: object) -> int:
    """A whole number, also as the language writes it: `600`, `"200k"`."""
    found: object = value
    if isinstance(value, str):
        try:
            kind, found = parse_quantity(value.strip())
        except ValueError as problem:
            raise _wrong(str(problem)) from None
        if kind is not Type.NUMBER:
            raise _wrong("it is no count: write a whole number, such as `600` or `200k`")
    if isinstance(found, bool) or not isinstance(found, int) or not 1 <= found <= _MOST:
        raise _wrong("it must be a whole number above 0, such as `600`, or null for none")
    return found


def _text(value: object) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise _wrong(f"it must be a text of 1 to {NAME_CHARS} printable characters")
    return value


def _allowance(value: object) -> str:
    """An amount for a time, as the language writes it: `$100/month`."""
    nano_usd, period = _amount(value)
    return f"{format_value(nano_usd, Type.MONEY)}/{period}"


def _amount(value: object) -> tuple[int, Literal["day", "week", "month"]]:
    help = "write one such as `$20/day`, `$100/week` or `$500/month`"
    parts = _ALLOWANCE.fullmatch(value.strip()) if isinstance(value, str) else None
    if parts is None or parts[2] not in _PERIODS:
        raise _wrong(f"it is no amount for a time: {help}")
    try:
        kind, nano_usd = parse_quantity(parts[1])
    except ValueError as problem:
        raise _wrong(str(problem)) from None
    if kind is not Type.MONEY or nano_usd <= 0:
        raise _wrong(f"it is no amount of money above 0: {help}")
    if nano_usd > _MOST_NANO_USD:
        most = format_value(_MOST_NANO_USD, Type.MONEY)
        raise _wrong(f"it is more than can be counted: write at most `{most}`")
    return nano_usd, cast(Literal["day", "week", "month"], parts[2])


def _steps(value: object) -> dict[str, _Found]:
    """What happens at which share of a limit, rising: `{"80%": "alert", "100%": "reject"}`."""
    if not isinstance(value, dict) or not value:
        raise _wrong('write shares with what happens there: `{"80%": "alert"}`')
    found: dict[int, _Found] = {}
    for key, action in value.items():
        share = _share(key)
        if action not in ("alert", "reject"):
            told = suggestion(str(action), ("alert", "reject")) or "write `alert` or `reject`"
            raise _wrong(f"unknown action at `{key}`: {told}")
        if share in found:
            raise _wrong(f"the step `{key}` stands twice")
        found[share] = action
    return {format_value(share, Type.PERCENT): found[share] for share in sorted(found)}


def _share(key: object) -> int:
    try:
        kind, share = parse_quantity(str(key))
    except ValueError as problem:
        raise _wrong(str(problem)) from None
    if kind is not Type.PERCENT or not 1 <= share <= 10_000:
        raise _wrong(f"`{key}` is no share: write a percentage up to `100%`")
    return share


_Count = Annotated[int, BeforeValidator(_count)]
_Text = Annotated[str, BeforeValidator(_text)]
_Scope = Literal["tenant", "team", "user", "key"]


class _Budget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: _Text | None = None
    scope: _Scope = "tenant"
    of: _Text | None = None
    limit: Annotated[str, BeforeValidator(_allowance)]
    at: Annotated[dict[str, _Found], BeforeValidator(_steps)] | None = None


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tier: _Text | None = None
    region: _Text | None = None
    rpm: _Count | None = None
    tpm: _Count | None = None
    concurrency: _Count | None = None
    budgets: Annotated[list[_Budget], Field(max_length=MOST_BUDGETS)] | None = None


def is_name(text: str) -> bool:
    """Whether a text can be the name of a tenant."""
    return 0 < len(text) <= NAME_CHARS and text.isprintable() and text == text.strip()


def read_settings(name: str, written: Mapping[str, Any]) -> dict[str, Any]:
    """What was written of a tenant, in the form in which it is kept and shown.

    What was left out, or is null, is not in it. Read again it is the same. Raises: WrongSettings.
    """
    try:
        model = _Settings.model_validate(dict(written))
    except ValidationError as error:
        raise _told(error) from None
    settings = model.model_dump(exclude_none=True, exclude_unset=True)
    _account(name, settings)
    return settings


def check_listed(program: Program, name: str, settings: Mapping[str, Any]) -> None:
    """Check names against the values that a policy lists. Raises: WrongSettings."""
    for attribute, param, value in (
        ("tenant", None, name),
        ("tier", "tier", settings.get("tier")),
        ("tenant.region", "region", settings.get("region")),
    ):
        domain = program.schema.attributes[attribute].domain
        if value is None or domain is None or value in domain:
            continue
        told = f"The policy in force does not list `{value}` among the values of `{attribute}`"
        help = suggestion(value, domain)
        raise WrongSettings(f"{told}{'' if help is None else f': {help}'}.", param)


def account(name: str, text: str) -> Account:
    """A stored tenant from its kept settings. Raises: WrongSettings."""
    try:
        settings = json.loads(text)
    except ValueError:
        raise WrongSettings("what is stored is no JSON") from None
    if not isinstance(settings, dict):
        raise WrongSettings("what is stored is no JSON object")
    return _account(name, read_settings(name, settings))


def _account(name: str, settings: Mapping[str, Any]) -> Account:
    plain = {key: value for key, value in settings.items() if key != "budgets"}
    budgets: list[Budget] = []
    for index, one in enumerate(settings.get("budgets", ())):
        budget = _budget(name, one, f"budgets.{index}")
        if any(other.name == budget.name for other in budgets):
            told = f"There are two budgets `{budget.name}`: give one of them another `name`."
            raise WrongSettings(told, f"budgets.{index}.name")
        budgets.append(budget)
    return Account(Tenant(name, **plain), tuple(budgets))


def _budget(tenant: str, one: Mapping[str, Any], path: str) -> Budget:
    scope: _Scope = one.get("scope", "tenant")
    of = one.get("of")
    if scope == "tenant":
        if of not in (None, tenant):
            told = f"A budget stored with the tenant `{tenant}` cannot be of the tenant `{of}`."
            raise WrongSettings(told, f"{path}.of")
        of = tenant
    nano_usd, period = _amount(one["limit"])
    steps = tuple((_share(share), what) for share, what in one.get("at", {}).items())
    named = one.get("name") or (tenant if scope == "tenant" else f"{tenant}_{scope}")
    written = Source(f"the tenant {tenant}, as stored", one["limit"])
    span = Span(written, 0, len(written.text))
    return Budget(named, scope, of, nano_usd, period, steps, span, tenant)


def _told(error: ValidationError) -> WrongSettings:
    """What pydantic found, in our words."""
    problems = error.errors(include_url=False, include_context=True)
    told = [_sentence(problem) for problem in problems[:5]]
    return WrongSettings(" ".join(told), _path(problems[0]["loc"]))


def _sentence(problem: Mapping[str, Any]) -> str:
    where = _path(problem["loc"])
    match problem["type"]:
        case "extra_forbidden":
            word = str(problem["loc"][-1])
            model = _Budget if len(problem["loc"]) > 1 else _Settings
            known = sorted(model.model_fields)
            meant = _MEANT.get(word.lower())
            help = f"did you mean `{meant}`?" if meant in known else suggestion(word, known)
            if help is None:
                return f"Unknown field `{where}`: it may be one of {listed(known)}."
            return f"Unknown field `{where}`: {help}"
        case "missing":
            return f"`{where}` is missing."
        case "turnout":
            return f"`{where}`: {problem['msg']}."
        case "literal_error":
            expected = problem["ctx"]["expected"].replace("'", "`")
            if problem["input"] == "model":
                more = "; a budget of a model holds for all tenants and stands in the policy file"
                return f"`{where}` must be {expected}{more}."
            return f"`{where}` must be {expected}."
        case "list_type":
            return f"`{where}` must be a list of budgets."
        case "too_long":
            return f"`{where}` may have at most {MOST_BUDGETS} entries."
        case _:
            return f"`{where}` must be an object."


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc))
