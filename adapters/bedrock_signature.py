"""AWS's Signature Version 4 for requests to Bedrock, by botocore (`turnout[bedrock]`).

botocore alone knows every corner of it; the library for just this that AWS makes too asks for
Python 3.12. Nothing else of botocore is used: no session, no files, no HTTP.
"""

import logging
from collections.abc import Mapping

import httpx

from turnout.engine.provider import Fault, ProviderError

from .upstream import Sign


def signer(key_id: str, secret: str, token: str | None, region: str) -> Sign:
    """What signs a request with these credentials of AWS, as of now.

    Without botocore it is there all the same, and its requests fail with the reason: a machine may
    have these variables for something else, and the gateway has to start.
    """
    try:
        # Here, because it takes 0.1 s and most gateways never need it.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        return _unsigned
    # On its lowest level it writes what it signs, and the session's token is part of that.
    logging.getLogger("botocore.auth").setLevel(logging.INFO)
    credentials = Credentials(key_id, secret, token)

    def sign(url: httpx.URL, body: bytes) -> Mapping[str, str]:
        request = AWSRequest(
            "POST", str(url), headers={"content-type": "application/json"}, data=body
        )
        SigV4Auth(credentials, "bedrock", region).add_auth(request)
        return {name: value for name, value in request.headers.items() if name != "content-type"}

    return sign


def _unsigned(url: httpx.URL, body: bytes) -> Mapping[str, str]:
    raise ProviderError(
        Fault.AUTH, "the gateway cannot sign requests to this provider: install `turnout[bedrock]`"
    )
