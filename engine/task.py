"""What kind of work a request asks for, from the last user message alone.

Signs are looked for in order, the first that is there decides; several European languages, Russian,
Chinese and Japanese are known. A text of none of them is `question` where it asks, else `chat`.
Cost: at most 1 500 characters are looked at, the beginning and the end; 0.5 ms.
"""

# ruff: noqa: RUF001, E501 (letters of other scripts; a row is as long as it is)

import re

from . import prompt
from .complexity import looked_at
from .request import Request

_LOOKED_AT = 1_500

_SIGNS = tuple(
    (task, re.compile(pattern, re.IGNORECASE))
    for task, pattern in (
        (
            "translation",
            r"\b(?:translate|translation of|übersetz\w*|tradu[icz]\w*|переведи\w*|перевод\w*)\b"
            r"|翻译|翻訳|번역",
        ),
        (
            "summary",
            r"\b(?:summari[sz]e|summary|tl;?dr|zusammenfass\w*|fasse\b.{0,80}\bzusammen|résum\w*"
            r"|resum\w*|riassum\w*|riassunt\w*|кратко изложи\w*|подытож\w*)\b|总结|摘要|要約|요약",
        ),
        (
            "classification",
            r"\b(?:classif\w*|categori[sz]e|label (?:this|these|each|the)|sentiment|klassifizier\w*"
            r"|clasifica\w*|классифицир\w*)\b|分类|分類|분류",
        ),
        (
            "extraction",
            r"\b(?:extract|extrahier\w*|extrais|extrai\w*|extrae\w*|estrai|pull out (?:all|the|every)"
            r"|list (?:all|every) \w+ (?:mentioned|named|in the text)|извлеки\w*)\b|提取|抽出|추출",
        ),
        (
            "code",
            r"```|^\s*(?:def |class |import |from \w+ import|#include|function\b|const |let |SELECT )"
            r"|[;{}]\s*\n.*[;{}]\s*$|\bTraceback \(most recent|\b(?:python|javascript|typescript"
            r"|golang|java|rust|c\+\+|c#|sql|bash|regex|html|css|kotlin|haskell)\b"
            r"|\b(?:refactor|debug|compile|unit tests?|stack trace|pull request|code review"
            r"|source code|codebase|data structure|algorithm|quellcode|programm(?:iere|code))\b"
            r"|代码|函数|コード|コーディング",
        ),
        (
            "math",
            r"\\(?:frac|int|sum|sqrt|lim)\b|\d\s*[-+*/^=]\s*\(?-?\d|\b[a-z]\s*(?:\^\s*\d|=\s*-?\d)"
            r"|\b(?:prove|theorem|integral|derivative|equation|polynomial|probability|calculate"
            r"|compute|solve for|how (?:many|much)\b.{0,200}\d|beweise|gleichung|berechne\w*"
            r"|démontre\w*|équation|calcul\w*|demuestra|ecuación|докажи\w*|вычисли\w*)\b"
            r"|证明|方程|计算|証明|方程式",
        ),
        (
            "writing",
            r"\b(?:write|compose|draft|rewrite|rephrase|proofread|improve this (?:text|email)|poem"
            r"|haiku|essay|story|blog post|cover letter|slogan|schreib\w*|verfasse|gedicht"
            r"|écri[st]\w*|rédige\w*|escrib\w*|redacta\w*|scrivi|escrev\w*|напиши\w*|сочини\w*)\b"
            r"|写一|撰写|書いて|작성",
        ),
        (
            "question",
            r"[?？؟]|^\s*(?:what|who|when|where|why|how|which|is|are|does|do|can|explain|was|wer"
            r"|wann|wo|warum|wie|welche\w*|quel\w*|qui|comment|pourquoi|qué|quién|cómo|cuándo"
            r"|che|chi|come|perché|что|кто|как|почему|где)\b",
        ),
    )
)


def task_of(request: Request) -> str:
    """The kind of work, one of `attributes.TASKS`; `chat` where nothing tells."""
    text = looked_at(prompt.last_user_text(request) or "", _LOOKED_AT)
    for task, sign in _SIGNS:
        if sign.search(text):
            return task
    return "chat"
