"""Texts for streams that somebody interprets: terminals, and the logs of pipelines."""

from __future__ import annotations

import json
from typing import Any


def plain(message: str) -> str:
    """The text on one line, without anything that a terminal or the log of a pipeline would obey."""
    if message.isprintable() and _MARK not in message:
        return message
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in message)
    return shown.replace(_MARK, "#\\x23[")


_MARK = "##["
"""What GitHub's runner takes for a command of the old form wherever it stands in a line; ``::`` only where one starts.

Source: https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs.
"""


def plain_lines(text: str) -> str:
    """The same, but lines stay lines."""
    return "\n".join(map(plain, text.split("\n")))


def as_json(document: Any) -> str:
    """A JSON document in ASCII; no line of it is a command, for each starts with a brace, a bracket or a quote."""
    return json.dumps(document, indent=2).replace(_MARK, "#\\u0023[")
