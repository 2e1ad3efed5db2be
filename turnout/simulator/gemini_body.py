"""Reads the body of a generation as Google would: what it refuses, and what it asks.

Unknown names are refused at every level, as protobuf's JSON does: a member that an adapter makes up
is found here and not by its users.

Over 300 lines because each part of a body has its own small check.
"""

import hashlib
import re
from base64 import b64decode, b64encode
from typing import Any

import orjson

from .reply import Refusal
from .tokens import chat_tokens

Json = dict[str, Any]

SKIP_SIGNATURE = "skip_thought_signature_validator"
"""Stands for a signature in history that Gemini did not write; Google documents it."""

_REQUEST = frozenset(
    "model contents systemInstruction tools toolConfig generationConfig safetySettings "
    "cachedContent labels serviceTier store".split()
)
_CONFIG = frozenset(
    "temperature topP topK candidateCount maxOutputTokens stopSequences responseLogprobs logprobs "
    "presencePenalty frequencyPenalty seed responseMimeType responseSchema responseJsonSchema "
    "responseModalities mediaResolution speechConfig thinkingConfig imageConfig "
    "enableEnhancedCivicAnswers".split()
)
_DATA = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
)
_PART = frozenset(("thought", "thoughtSignature", "videoMetadata", "mediaResolution", *_DATA))
_WITHIN = {
    "inlineData": frozenset(("mimeType", "data", "displayName")),
    "fileData": frozenset(("mimeType", "fileUri", "displayName")),
    "functionCall": frozenset(("id", "name", "args")),
    "functionResponse": frozenset(
        ("id", "name", "response", "parts", "scheduling", "willContinue")
    ),
}
_TOOL = frozenset("functionDeclarations googleSearch codeExecution urlContext".split())
_DECLARATION = frozenset(
    "name description parameters parametersJsonSchema response responseJsonSchema behavior".split()
)
_THINKING = frozenset(("includeThoughts", "thinkingBudget", "thinkingLevel"))
_MODES = ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED")
_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH")
_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,127}")
_CAMEL = re.compile(r"(?<=[a-z])_([a-z])")
_OPAQUE = frozenset(
    "args response parameters parametersJsonSchema responseSchema responseJsonSchema".split()
)
_PLAIN = str.maketrans("-_", "+/")
_FAMILY = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


def family(model: str) -> tuple[int, int]:
    """Return the version that a model's name says; (0, 0) if it says none."""
    found = _FAMILY.match(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def in_camel_case(value: Any) -> Any:
    """Return a body with the names that Google writes: protobuf reads `mime_type` as `mimeType`.

    What is data, a schema or a tool's arguments, stays as it is.
    """
    if isinstance(value, list):
        return [in_camel_case(one) for one in value]
    if not isinstance(value, dict):
        return value
    named = {_CAMEL.sub(lambda m: m[1].upper(), name): one for name, one in value.items()}
    return {name: one if name in _OPAQUE else in_camel_case(one) for name, one in named.items()}


def signature(name: str, arguments: Json) -> str:
    """Return the thought signature of a call; checked when it comes back."""
    written = orjson.dumps([name, arguments], option=orjson.OPT_SORT_KEYS)
    return b64encode(b"simulated" + hashlib.sha256(written).digest()).decode()


def check(body: Json, model: str) -> None:
    """Accept what Google would accept for this model. Raises: Refusal."""
    _known(body, _REQUEST, "")
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Refusal(400, "* GenerateContentRequest.contents: contents is not specified\n")
    system = body.get("systemInstruction")
    if system is not None:
        _check_parts(system, "system_instruction")
    for index, content in enumerate(contents):
        _known(content, frozenset(("role", "parts")), f"contents[{index}]")
        if content.get("role", "user") not in ("user", "model", "function"):
            raise Refusal(400, "Please use a valid role: user, model.")
        _check_parts(content, f"contents[{index}]")
    _check_tools(body)
    _check_config(body.get("generationConfig") or {}, model)
    _check_calls(contents, model)


def _check_parts(content: Json, where: str) -> None:
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts:
        raise Refusal(
            400, f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.\n"
        )
    for index, part in enumerate(parts):
        at = f"{where}.parts[{index}]"
        _known(part, _PART, at)
        data = [name for name in _DATA if name in part]
        if len(data) != 1:
            raise Refusal(
                400,
                f"* GenerateContentRequest.{at}.data: required oneof field 'data' must have one "
                "initialized field\n",
            )
        if data[0] in _WITHIN:
            _known(part[data[0]], _WITHIN[data[0]], f"{at}.{data[0]}")
        if data[0] == "inlineData":
            try:
                b64decode(part["inlineData"]["data"], validate=True)
            except ValueError:
                raise _invalid(f"{at}.inline_data.data", "TYPE_BYTES") from None
            if "/" not in part["inlineData"].get("mimeType", ""):
                raise Refusal(400, "Unsupported MIME type: ")
        if data[0] == "functionResponse" and not isinstance(
            part["functionResponse"].get("response"), dict
        ):
            raise _invalid(f"{at}.function_response.response", "Struct")
        if data[0] == "functionCall" and not isinstance(part["functionCall"].get("args", {}), dict):
            raise _invalid(f"{at}.function_call.args", "Struct")


def _check_tools(body: Json) -> None:
    declared = declarations(body)
    for tool in body.get("tools") or ():
        _known(tool, _TOOL, "tools")
    for one in declared:
        _known(one, _DECLARATION, "tools[0].function_declarations")
        if not _NAME.fullmatch(one.get("name", "")):
            raise Refusal(
                400,
                "* GenerateContentRequest.tools[0].function_declarations[0].name: "
                "Invalid function name. Must start with a letter or an underscore.\n",
            )
        if "parameters" in one and "parametersJsonSchema" in one:
            raise Refusal(400, "Only one of parameters and parameters_json_schema can be set.")
    config = body.get("toolConfig") or {}
    _known(config, frozenset(("functionCallingConfig", "retrievalConfig")), "tool_config")
    calling = config.get("functionCallingConfig") or {}
    _known(calling, frozenset(("mode", "allowedFunctionNames")), "tool_config")
    mode = calling.get("mode", "AUTO")
    if mode not in _MODES:
        raise _invalid("tool_config.function_calling_config.mode", "Mode")
    allowed = calling.get("allowedFunctionNames")
    if allowed and mode not in ("ANY", "VALIDATED"):
        raise Refusal(
            400, "Allowed function names can only be set when function calling mode is ANY."
        )
    names = {one["name"] for one in declared}
    if mode == "ANY" and not names:
        raise Refusal(400, "Function calling config is set without function_declarations.")
    if not set(allowed or ()) <= names:
        raise Refusal(400, "Allowed function names must be a subset of the declared ones.")


def _check_config(config: Json, model: str) -> None:
    _known(config, _CONFIG, "generation_config")
    if len(config.get("stopSequences") or ()) > 5:
        raise Refusal(
            400, "* GenerateContentRequest.generation_config.stop_sequences: at most 5 elements\n"
        )
    count = config.get("candidateCount", 1)
    if not 1 <= count <= 8:
        raise Refusal(400, "* candidate_count must be in the range [1, 8].\n")
    if config.get("maxOutputTokens", 1) < 1:
        raise Refusal(400, "max_output_tokens must be positive.")
    if not 0 <= config.get("temperature", 1) <= 2:
        raise Refusal(400, "* temperature must be in the range [0.0, 2.0].\n")
    if not -(2**31) <= config.get("seed", 0) < 2**31:
        raise _invalid("generation_config.seed", "TYPE_INT32")
    if "logprobs" in config and not config.get("responseLogprobs"):
        raise Refusal(400, "* logprobs is set but response_logprobs is not.\n")
    schema = "responseSchema" in config or "responseJsonSchema" in config
    if schema and config.get("responseMimeType") != "application/json":
        raise Refusal(400, "Response schema needs a response mime type of application/json.")
    thinking = config.get("thinkingConfig") or {}
    _known(thinking, _THINKING, "generation_config.thinking_config")
    _check_thinking(thinking, model)


def _check_thinking(thinking: Json, model: str) -> None:
    if not thinking:
        return
    budget, level = thinking.get("thinkingBudget"), thinking.get("thinkingLevel")
    if family(model) < (2, 5):
        raise Refusal(400, f"Thinking is not enabled for models/{model}")
    if budget is not None and level is not None:
        raise Refusal(400, "You can only set only one of thinking budget and thinking level.")
    if level is not None and (family(model) < (3, 0) or level.upper() not in _LEVELS):
        raise Refusal(400, "Thinking level is not supported for this model.")
    if level is not None and level.upper() == "MINIMAL" and "pro" in model:
        raise Refusal(400, "Thinking level MINIMAL is not supported for this model.")
    if budget == 0 and ("pro" in model or family(model) >= (3, 0)):
        raise Refusal(400, "Budget 0 is invalid. This model only works in thinking mode.")
    if budget is not None and not -1 <= budget <= 32_768:
        raise Refusal(400, f"The thinking budget {budget} is invalid.")


def _check_calls(contents: list[Json], model: str) -> None:
    """Each turn of calls is followed by as many results; signatures are where they must be."""
    called: list[Json] = []
    last_said = max((i for i, one in enumerate(contents) if _says(one)), default=-1)
    for position, content in enumerate(contents):
        results = [p for p in content["parts"] if "functionResponse" in p]
        if called and len(results) != len(called):
            raise Refusal(
                400,
                "Please ensure that the number of function response parts is equal to the number "
                "of function call parts of the function call turn.",
            )
        if results and not called:
            raise Refusal(
                400,
                "Please ensure that function response turn comes immediately after a function "
                "call turn.",
            )
        for call, result in zip(called, results, strict=False):
            if not any(_matches(one["functionResponse"], call) for one in results):
                name = result["functionResponse"].get("name")
                raise Refusal(400, f"Function response `{name}` matches no function call.")
        called = [p["functionCall"] for p in content["parts"] if "functionCall" in p]
        if called and position == 0:
            raise Refusal(
                400,
                "Please ensure that function call turn comes immediately after a user turn or "
                "after a function response turn.",
            )
        _check_signatures(content, model, position > last_said)


def _says(content: Json) -> bool:
    """Whether a turn begins a new exchange: the user's own words."""
    is_user = content.get("role", "user") == "user"
    return is_user and any("functionResponse" not in part for part in content["parts"])


def _matches(result: Json, call: Json) -> bool:
    if call.get("id") and result.get("id"):
        return bool(call["id"] == result["id"] and call["name"] == result.get("name"))
    return bool(call["name"] == result.get("name"))


def _check_signatures(content: Json, model: str, current: bool) -> None:
    first = True
    for index, part in enumerate(content["parts"]):
        signed = part.get("thoughtSignature")
        call = part.get("functionCall")
        if call is not None and first:
            first = False
            if signed is None and current and family(model) >= (3, 0):
                raise Refusal(
                    400,
                    "Function call is missing a thought_signature in functionCall parts. This is "
                    "required for tools to work correctly, and missing thought_signature may lead "
                    "to degraded model performance. Additional data, function call "
                    f"`default_api:{call['name']}` , position {index + 1}.",
                )
        if signed is None or signed == SKIP_SIGNATURE:
            continue
        try:
            # Either alphabet of base64, as protobuf takes it.
            given = b64decode(signed.translate(_PLAIN), validate=True)
        except ValueError:
            raise _invalid("contents.parts.thought_signature", "TYPE_BYTES") from None
        if call is not None and given != b64decode(signature(call["name"], call.get("args") or {})):
            raise Refusal(400, "Corrupted thought signature.")


def declarations(body: Json) -> list[Json]:
    """Return the functions that a body declares."""
    return [
        one for tool in body.get("tools") or () for one in tool.get("functionDeclarations") or ()
    ]


def choice(body: Json) -> Any:
    """Return the mode of function calling as OpenAI's `tool_choice`."""
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if calling.get("mode") == "NONE":
        return "none"
    if calling.get("mode") != "ANY":
        return "auto"
    allowed = calling.get("allowedFunctionNames")
    return {"name": allowed[0]} if allowed else "required"


def last_words(contents: list[Json]) -> tuple[str, bool]:
    """Return the text of the last turn, and whether it brings a tool's result."""
    texts: list[str] = []
    answered = False
    for part in contents[-1]["parts"]:
        if "functionResponse" in part:
            answered = True
            response = part["functionResponse"]["response"]
            texts.append(
                str(response["result"]) if "result" in response else orjson.dumps(response).decode()
            )
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
    return " ".join(texts), answered


def prompt_tokens(body: Json) -> int:
    """Return what the prompt costs."""
    tools = [
        {"function": {**one, "parameters": one.get("parametersJsonSchema")}}
        for one in declarations(body)
    ]
    return chat_tokens(_messages(body), tools)


def _messages(body: Json) -> list[Json]:
    """Return the turns as OpenAI's messages, to be counted."""
    turns = [("user" if c.get("role") != "model" else "assistant", c) for c in body["contents"]]
    if body.get("systemInstruction"):
        turns.insert(0, ("system", body["systemInstruction"]))
    return [{"role": role, "content": _counted(content)} for role, content in turns]


def _counted(content: Json) -> list[Json]:
    counted: list[Json] = []
    for part in content["parts"]:
        if "inlineData" in part or "fileData" in part:
            counted.append({"type": "image"})
        elif "text" in part:
            counted.append({"type": "text", "text": part["text"]})
        else:
            counted.append({"type": "text", "text": orjson.dumps(part).decode()})
    return counted


def _known(value: Json, names: frozenset[str], where: str) -> None:
    unknown = next((name for name in value if name not in names), None)
    if unknown is not None:
        place = f" at '{where}'" if where else ""
        raise Refusal(
            400,
            f'Invalid JSON payload received. Unknown name "{unknown}"{place}: Cannot find field.',
        )


def _invalid(where: str, kind: str) -> Refusal:
    return Refusal(400, f"Invalid value at '{where}' ({kind})")
