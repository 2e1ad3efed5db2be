"""Responses: OpenAI's protocol beside chat, passed through to it and translated for the others.

Errors have the envelope of chat. A stream ends in `response.completed`, `response.incomplete` or
`response.failed`; there is no other closing mark.
"""

from turnout.engine.request import Operation

from .chat import told
from .client import ClientProtocol
from .responses_request import as_chat
from .responses_shape import check
from .responses_stream import Passing, Translating

RESPONSES = ClientProtocol(Operation.RESPONSES, check, as_chat, Translating, Passing, told)
