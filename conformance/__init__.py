"""The conformance suite: does whatever answers at a base URL speak OpenAI's wire, and Anthropic's?

It talks plain HTTP, so that it sees bytes, status, headers and framing, and knows nothing of the
gateway beside it. `suite.AREAS` has the cases, `run.run` asks them, `report` tells the outcome.

To add a case: a coroutine function in a file of `areas/`, with what is expected as its docstring
and the source that says so in its decorator.
"""
