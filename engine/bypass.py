"""Why a request goes past the cache: the words that its decision record keeps."""

from .cache_key import is_exact
from .directives import directives
from .request import Request

NO_SECTION = "the policy has no `cache:`"
NO_CACHE = "this gateway keeps no answers"
BY_CHANCE = "no explicit temperature 0"
NOT_ONLY = "`only` is not true"
NEVER = "`never` is true"
NOT_FETCHED = "`only` or `never` is about a signal that no rule asked for"
NO_STORE = "the client said `no-store`"
INEXACT = "its body can be read in more than one way"


def of_client(request: Request) -> str | None:
    """Why one that the policy lets have a kept answer goes past; None: it does not.

    Raises: RequestError 400 for an unknown word in a header.
    """
    said = directives(request.headers)
    if not (said.read or said.write):
        return NO_STORE
    return None if is_exact(request) else INEXACT
