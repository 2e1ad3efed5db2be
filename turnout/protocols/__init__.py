"""What clients speak: bodies of other protocols as chat, and chat answers in theirs.

The engine decides on chat and answers in chat. A protocol is one small module with a
`ClientProtocol`: how its bodies are checked and said as chat, and the voices that tell an answer.
Where a provider speaks the client's protocol itself, the request passes through as it came.
"""
