"""Checks AWS's Signature Version 4, written from its description and not with a library of AWS.

So an adapter and the official client, which sign by such a library, are held to the description.
"""

import hashlib
import hmac
import re
from datetime import UTC, datetime
from urllib.parse import quote

from .received import Received
from .reply import Refusal

ACCESS_KEY_ID = "AKIASIMULATEDEXAMPLE"
"""The one access key there is; its secret is the simulator's key."""
SECRET = "simulated"
"""The secret where the simulator was given no key."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([a-z0-9-]+)/bedrock/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)
_SKEW_S = 300


def is_signed(authorization: str) -> bool:
    """Whether this header is meant as a signature."""
    return authorization.startswith("AWS4-")


def verify(received: Received, secret: str) -> None:
    """Check who signed a request, when, and that it came as it was signed. Raises: Refusal."""
    found = _AUTHORIZATION.fullmatch(received.headers.get("authorization", ""))
    at = received.headers.get("x-amz-date", "")
    if found is None or not re.fullmatch(r"\d{8}T\d{6}Z", at):
        message = "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'."
        raise Refusal(400, message, type="IncompleteSignatureException")
    key_id, day, region, names, signature = found.groups()
    if key_id != ACCESS_KEY_ID:
        message = "The security token included in the request is invalid."
        raise Refusal(403, message, type="UnrecognizedClientException")
    signed_at = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs((datetime.now(UTC) - signed_at).total_seconds()) > _SKEW_S or day != at[:8]:
        message = f"Signature expired: {at} is now earlier than the server's time"
        raise Refusal(403, message, type="InvalidSignatureException")
    signed = names.split(";")
    needed = {"host", "x-amz-date"} | received.headers.keys() & {"x-amz-security-token"}
    if not needed <= set(signed):
        message = "'Host' and all 'x-amz-' headers must be signed."
        raise Refusal(403, message, type="InvalidSignatureException")
    canonical = "\n".join(
        (
            received.method,
            # Encoded once more than it is in the request.
            quote(received.path, safe="/-_.~"),
            received.query,
            *(f"{name}:{' '.join(received.headers.get(name, '').split())}" for name in signed),
            "",
            names,
            hashlib.sha256(received.body).hexdigest(),
        )
    )
    scope = f"{day}/{region}/bedrock/aws4_request"
    to_sign = "\n".join(
        ("AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest())
    )
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), signature):
        message = (
            "The request signature we calculated does not match the signature you provided. Check "
            f"your AWS Secret Access Key and signing method. The Canonical String was '{canonical}'"
        )
        raise Refusal(403, message, type="InvalidSignatureException")
