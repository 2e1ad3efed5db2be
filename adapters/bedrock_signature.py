"""AWS's Signature Version 4 for requests to Bedrock, by botocore (`turnout[bedrock]`).

botocore alone knows every corner of it; the library for just this that AWS makes too asks for
Python 3.12. Nothing else of botocore is used: no session, no files, no HTTP.
"""

import logging
from collections.abc import Mapping

import httpx

from .upstream import Sign

NO_SIGNING = "no botocore (install `turnout[bedrock]`)"
"""What is missing where there are keys and nothing to sign with."""


def signer(key_id: str, secret: str, token: str | None, region: str) -> Sign | None:
    """What signs a request with these credentials of AWS, as of now; None without botocore.

    Not an error: a machine may have these variables for something else, and the gateway has to
    start. It tells what is missing where a policy names the provider.
    """
    try:
        # Here, because it takes 0.1 s and most gateways never need it.
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        return None
    # On its lowest level it writes what it signs, and the session's token is part of that.
    logging.getLogger("botocore.auth").setLevel(logging.INFO)
    credentials = Credentials(key_id, secret, token)

    def sign(url: httpx.URL, body: bytes | None) -> Mapping[str, str]:
        request = (
            AWSRequest("GET", str(url))
            if body is None
            else AWSRequest(
                "POST", str(url), headers={"content-type": "application/json"}, data=body
            )
        )
        SigV4Auth(credentials, "bedrock", region).add_auth(request)
        return {name: value for name, value in request.headers.items() if name != "content-type"}

    return sign
