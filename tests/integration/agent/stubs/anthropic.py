"""Stands for the vendor's library: replies shaped like the real ones, from a script, in the order of the script.

AGENT_SCRIPT names a file of JSON, a list of replies; what each request held is appended to AGENT_REQUESTS. A reply of
null never comes: it says so on standard error, so that a test can kill the program at that moment.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path


@dataclass
class TextBlock:
    """A block of text."""

    text: str
    type: str = "text"


@dataclass
class ToolUseBlock:
    """A call that the model asks for."""

    id: str
    name: str
    input: dict
    type: str = "tool_use"


@dataclass
class Message:
    """A reply."""

    content: list
    stop_reason: str
    role: str = "assistant"
    type: str = "message"


def block(told):
    """A block from the script."""
    return TextBlock(told["text"]) if "text" in told else ToolUseBlock(told["id"], told["name"], told["input"])


def note(request):
    """Writes a request down, as plain JSON."""
    text = json.dumps(request, default=lambda each: asdict(each) if is_dataclass(each) else repr(each))
    with Path(os.environ["AGENT_REQUESTS"]).open("a") as requests:
        requests.write(text + "\n")


class Messages:
    """The model."""

    def __init__(self):
        self._replies = iter(json.loads(Path(os.environ["AGENT_SCRIPT"]).read_text()))

    async def create(self, *, model, max_tokens, tools, messages):
        """Notes the request and gives the next reply."""
        note({"model": model, "max_tokens": max_tokens, "tools": tools, "messages": messages})
        reply = next(self._replies)
        if reply is None:
            sys.stderr.write("the model thinks\n")
            await asyncio.Event().wait()
        return Message([block(each) for each in reply["content"]], reply["stop_reason"])


class AsyncAnthropic:
    """The client."""

    def __init__(self):
        self.messages = Messages()
