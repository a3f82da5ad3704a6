"""Texts of an inventory inside Markdown, where they stay texts.

Everything of an inventory stands in code: there, forges make no link, mention or picture of anything.

Source: https://github.github.com/gfm/.
"""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

from kvmgen.report.printed import plain, plain_lines

LONGEST = 300
"""What a value may have: more of it is in the file."""


def code(text: str, longest: int = LONGEST) -> str:
    """A text as code on one line, behind as many backticks as it needs; what shows nothing is said in a word."""
    shown = _short(plain(text), longest)
    if not shown.strip():
        return f"*{len(shown)} blanks*" if shown else "*empty*"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    apart = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{apart}{shown}{apart}{fence}"


def prose(text: str) -> str:
    """A sentence as it is, with what it has in backticks, where nothing else can be made of it; as code otherwise."""
    said, *others = text.split("`")
    if len(text) > LONGEST or not re.match("[A-Za-z]", said) or text.endswith(" ") or len(others) % 2:
        return code(text)
    quoted, bare = others[::2], (said, *others[1::2])
    if not all(quoted) or not all(map(_BARE.fullmatch, bare)):
        return code(text)
    return "".join(code(part) if number % 2 else part for number, part in enumerate(text.split("`")))


_BARE = re.compile(r"(?:[A-Za-z ,;'()/-]|[.:](?= |\Z))*")


def html_code(text: str, longest: int = LONGEST) -> str:
    """The same where Markdown isn't read: inside of a line of HTML."""
    return f"<code>{escape(_short(plain(text), longest))}</code>"


def link(text: str, address: str) -> str:
    """Code that leads somewhere; ``address`` is of letters that need no care, as `address_of` makes it."""
    return f"[{code(text)}]({address})" if address else code(text)


def address_of(base: str, file: str, line: int) -> str:
    """A line of a file as forges show it, below an address such as ``https://forge.example/site/blob/main``."""
    if not base:
        return ""
    whole = f"{quote(base.rstrip('/'), safe=_IN_ADDRESSES)}/{quote(file, errors='surrogatepass')}"
    return f"{whole}#L{line}" if line else whole


_IN_ADDRESSES = "/:%@~+-._"


def fenced(text: str, language: str) -> str:
    """Lines as they are, behind a fence that none of them closes."""
    shown = plain_lines(text.rstrip("\n"))
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    return f"{fence}{language}\n{shown}\n{fence}\n"


def comment(text: str) -> str:
    """What nobody sees, but who looks for it."""
    return f"<!-- {re.sub(r'[^A-Za-z0-9_.: -]', '_', text).replace('--', '__')} -->"


def _short(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}\u2026"
