"""Where system, data and turns stand in what a chat template or a server is sent.

A conversation is messages of four roles: `system`, `user`, `assistant`, and `tool`, which is data (evidence, a report) of the user's turn
before it. A layout says which turn holds the system's words and which the data. Data in a user's turn stands before the question, between
two lines of its own: what comes first stays in a prompt's cache while questions change. Whoever writes data escapes line ends and template
marks in it, so that none of its lines is one of these two.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from thoracle.models.chat.prompt import Message

EvidencePlacement = Literal["user", "tool"]
BEGIN_DATA: Final = "----- data -----"
END_DATA: Final = "----- end of data -----"
#: Nine letters and digits: Mistral's templates take no other.
_CALL_ID: Final = "evidence1"
_TOOL: Final = "evidence"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Say which turns hold the system's words and the data.

    Attributes:
        evidence: "user" for lines in the user's turn, before its question; "tool" for a tool's turn behind it.
        system: "system" for a turn of its own; "user" for the beginning of the first user's turn; "absent" where a template says itself
            that its model never learned any.
        tool_call: whether a tool's turn stands behind the assistant's call of it.
    """

    evidence: EvidencePlacement = "user"
    system: Literal["system", "user", "absent"] = "system"
    tool_call: bool = False


#: A server's template is not seen, and some refuse or lose a system's turn: all that ours says stands in user's turns.
SERVER_LAYOUTS: Final = {"user": Layout(system="user"), "tool": Layout(evidence="tool", tool_call=True)}
#: By placement of the evidence, the first that a template renders whole is taken.
TEMPLATE_LAYOUTS: Final = {
    "user": (Layout(), Layout(system="user")),
    "tool": tuple(
        Layout(evidence="tool", system=system, tool_call=tool_call) for tool_call in (True, False) for system in ("system", "user")
    ),
}


def to_turns(messages: Sequence[Message], layout: Layout, *, call_arguments: object = "{}") -> list[dict[str, Any]]:
    """List a conversation's turns in the form that templates and OpenAI-compatible servers read.

    Args:
        messages: a `tool` message follows the user's message whose data it is; elsewhere it is a user's turn of data alone.
        layout: where system and data go; user's turns that are neighbours become one.
        call_arguments: of a tool's call: JSON text for servers, a mapping for templates.
    """
    turns: list[dict[str, Any]] = []
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    if system and layout.system == "system":
        turns.append({"role": "system", "content": system})
    opening, placed = (system if layout.system == "user" else ""), 0
    for number, message in enumerate(messages):
        if message.role == "user" or (message.role == "tool" and layout.evidence == "user" and number >= placed):
            placed = number + 1
            while layout.evidence == "user" and placed < len(messages) and messages[placed].role == "tool":
                placed += 1
            parts = [f"{BEGIN_DATA}\n{data.content}\n{END_DATA}" for data in messages[number:placed] if data.role == "tool"]
            parts = [opening, *parts] if message.role == "tool" else [opening, *parts, message.content]
            content, opening = "\n\n".join(filter(None, parts)), ""
            if message.pictures:
                turns.append({"role": "user", "content": [*map(_picture, message.pictures), {"type": "text", "text": content}]})
            elif turns and turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], str):
                turns[-1]["content"] += f"\n\n{content}"
            else:
                turns.append({"role": "user", "content": content})
        elif message.role == "assistant":
            turns.append({"role": "assistant", "content": message.content})
        elif message.role == "tool" and layout.evidence == "tool":
            if layout.tool_call:
                call = {"id": _CALL_ID, "type": "function", "function": {"name": _TOOL, "arguments": call_arguments}}
                turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
            turns.append({"role": "tool", "name": _TOOL, "tool_call_id": _CALL_ID, "content": message.content})
    return turns


def _picture(png: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{b64encode(png).decode()}"}}
