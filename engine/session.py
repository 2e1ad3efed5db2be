"""Who keeps a decision: hashes of sessions, users, tenants and requests, and the buckets they make.

No identity itself is kept, only its sha256 (hex). A bucket is computed from such a hash and a salt
by what every database can do as well, so that a replay can lay out a split that did not exist yet:
the first 15 hex digits of sha256(salt + NUL + hash), mod 10 000.
"""

import hashlib
from collections.abc import Mapping
from typing import overload

from turnout.dsl.schema import Value
from turnout.dsl.snapshot import bucket

__all__ = ["bucket", "hashed", "kept_by"]


def hashed(identity: str) -> str:
    """The sha256 (hex) that stands for an identity; half a surrogate pair counts as `?`."""
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()


@overload
def kept_by(attribute: str, values: Mapping[str, Value | None], request_id: str) -> str: ...
@overload
def kept_by(
    attribute: str, values: Mapping[str, Value | None], request_id: str | None
) -> str | None: ...
def kept_by(
    attribute: str, values: Mapping[str, Value | None], request_id: str | None
) -> str | None:
    """The hash that a bucket attribute is made of, from recorded values.

    `attribute` is `bucket`, `bucket.user` (without a user as `bucket`), `bucket.tenant`
    or `bucket.request`. `values` needs `session`, `user` and `tenant`, which every record holds, so
    that a recorded request has a bucket for a salt that nobody had asked for. None where that takes
    the request's id and it is not known.
    """
    match attribute:
        case "bucket.tenant":
            return hashed(str(values.get("tenant") or "default"))
        case "bucket.user" if user := values.get("user"):
            return hashed(str(user))
        case "bucket" | "bucket.user" if session := values.get("session"):
            return str(session)
        case _:
            return None if request_id is None else hashed(request_id)
