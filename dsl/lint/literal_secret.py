"""A secret stands in the policy.

Policies are kept in git and shown to many people: a key in one is a key that leaked. Providers'
keys are read from the environment of the gateway, never from the file.

Avoid:

    providers:
      openai: {headers: {authorization: "Bearer abcdefgh12345678"}}

Prefer:

    providers:
      openai: {headers: {authorization: "Bearer ${TURNOUT_VAR_GATEWAY}"}}
"""

from turnout.dsl.diagnostic import Severity

CODE = "RP007"
LEVEL: Severity = "error"
