"""What a case cites: where it is written that the wire is so."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """A document and where it can be read."""

    title: str
    url: str


def spec(schema: str) -> Source:
    """A schema or a path of OpenAI's own OpenAPI specification."""
    return Source(
        f"OpenAI OpenAPI specification, {schema}", "https://github.com/openai/openai-openapi"
    )


def reference(page: str) -> Source:
    """A page of OpenAI's API reference, such as `chat/streaming`."""
    address = f"https://platform.openai.com/docs/api-reference/{page}"
    return Source(f"OpenAI API reference, {page}", address)


def guide(page: str) -> Source:
    """A guide of OpenAI, such as `error-codes`."""
    return Source(f"OpenAI guide, {page}", f"https://platform.openai.com/docs/guides/{page}")


def anthropic(page: str) -> Source:
    """A page of Anthropic's API reference, such as `messages`."""
    return Source(f"Anthropic API reference, {page}", f"https://docs.claude.com/en/api/{page}")


def python_sdk(file: str) -> Source:
    """A file of OpenAI's Python library, which reads answers this way."""
    address = f"https://github.com/openai/openai-python/blob/main/src/openai/{file}"
    return Source(f"openai-python, {file}", address)


def node_sdk(file: str) -> Source:
    """A file of OpenAI's Node library, which reads answers this way."""
    address = f"https://github.com/openai/openai-node/blob/master/src/{file}"
    return Source(f"openai-node, {file}", address)


def rfc(number: int, section: str) -> Source:
    """A section of an RFC."""
    address = f"https://www.rfc-editor.org/rfc/rfc{number}#section-{section}"
    return Source(f"RFC {number}, section {section}", address)


EVENT_STREAM = Source(
    "WHATWG HTML, server-sent events",
    "https://html.spec.whatwg.org/multipage/server-sent-events.html",
)
RECORDED = Source(
    "api.openai.com as recorded in the tests of envoyproxy/ai-gateway",
    "https://github.com/envoyproxy/ai-gateway/tree/main/tests/internal/testopenai",
)
COUNTING = Source(
    "OpenAI cookbook, how to count tokens",
    "https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken",
)
