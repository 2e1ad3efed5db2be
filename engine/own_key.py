"""A provider's key that a caller brought along: what its refusals mean, and to whom they are told.

The key itself is in `Request.own`, and in the provider that `Provider.owned` makes of it for one
request. It is for that provider's own origin; elsewhere the gateway's credentials are used where
the caller showed a key of this gateway too, else nothing is.
"""

from .provider import Fault, Provider, ProviderError
from .request import OwnKey

NOT_FOR_IT = "the caller's own key is not for it"

# What a provider says of an account or its key, and so not of the target.
_OF_THE_ACCOUNT = {
    Fault.AUTH: "the provider refused the key that came with the request",
    Fault.QUOTA: "the account of the key that came with the request has no quota left",
    Fault.RATE_LIMIT: "the rate limit of the key that came with the request is reached",
}


def not_for_it(key: OwnKey | None, provider: Provider | None) -> str:
    """Why a caller's own key is not used at a provider: its kind, or only its address, differs."""
    # What plays a provider in tests is of no kind.
    kind = getattr(provider, "kind", None)
    if key is None or kind is None or kind != key.provider:
        return NOT_FOR_IT
    return f"{NOT_FOR_IT}: its address is not that of `{kind}` itself"


def is_about_it(error: ProviderError) -> bool:
    """Whether a failure is about the account of whoever asked."""
    return error.fault in _OF_THE_ACCOUNT


def of_own_key(error: ProviderError) -> None:
    """Say of such a failure that it is about the caller's account, not the gateway's.

    A refused key is the caller's own mistake: no other hop is tried for it.
    """
    error.message = _OF_THE_ACCOUNT[error.fault]
    if error.status is not None:
        error.message += f" (status {error.status})"
    if error.fault is Fault.AUTH:
        error.fault = Fault.OWN_KEY
