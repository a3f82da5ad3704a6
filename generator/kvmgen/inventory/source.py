"""Reading an inventory file: YAML 1.2 into plain data, and a way back from data to line and column.

libyaml composes a document's nodes in C; a short walk turns them into dicts, lists, strings, numbers and booleans by
the rules of the YAML 1.2 core schema: ``no``, ``on``, ``12:30:45`` and dates are strings. What an inventory has no use
for is refused: tags, directives, merge keys, several documents, keys that aren't strings, and duplicate keys.

Positions cost time and are rarely wanted, so they are looked up by reading the text once more (`Source.position`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

import yaml
from yaml._yaml import CParser

from kvmgen.diagnostics import Diagnostic, Origin, Pointer, Position, Rule, first_of
from kvmgen.inventory import docs
from kvmgen.value import record

UNREADABLE = Rule(code="KV001", title="A file that can't be read", doc=docs.UNREADABLE)
NOT_YAML = Rule(code="KV002", title="A file that isn't valid YAML", doc=docs.NOT_YAML)
DUPLICATE_KEY = Rule(code="KV003", title="A key that stands twice in one mapping", doc=docs.DUPLICATE_KEY)
REFUSED_YAML = Rule(code="KV004", title="YAML that an inventory has no use for", doc=docs.REFUSED_YAML)
RULES = (UNREADABLE, NOT_YAML, DUPLICATE_KEY, REFUSED_YAML)

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64

_STR = "tag:yaml.org,2002:str"
_PLAIN_TAGS = (None, "", "!", _STR, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_OTHER_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LARGEST = 2**63
_PROPERTY = re.compile(r"(?:^|[\s\[{,:])[!&]", re.MULTILINE)
_NOT_TEXT = (
    "[^\t\n\r -~\xa0-\u180d\u180f-\u200a\u200c-\u2027\u202f-\u205f\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd"
    "\U00010000-\U000dffff\U000e1000-\U0010ffff]"
)
"""What YAML doesn't allow, a byte order mark within the text, the line breaks that only YAML 1.1 knows, what turns the
direction of writing round (a line would read in another order than it is meant in), and what nobody sees, such as the
zero-width space and the tag characters; but for what joins letters of some scripts."""
_NUMBER_STARTS = frozenset("+-.0123456789")


@record
class Source:
    """The text of one inventory file; ``file`` is relative to the inventory's folder."""

    file: str
    text: str

    def position(self, pointer: Pointer, *, of_key: bool = False) -> Position | None:
        """Where a value (or its key) stands; the nearest enclosing value where the pointer leads nowhere."""
        node = _composed(self.text)
        mark = None if node is None else node.start_mark
        for key in pointer:
            found = _child(node, key)
            if found is None:
                break
            key_node, node = found
            mark = (key_node if of_key and key_node is not None else node).start_mark
        return None if mark is None else Position(mark.line + 1, mark.column + 1)

    def extent(self, pointer: Pointer) -> tuple[int, int] | None:
        """The first and the last line of a value with its key; ``None`` where the pointer leads nowhere."""
        node = _composed(self.text)
        start = None if node is None else node.start_mark
        for key in pointer:
            found = _child(node, key)
            if found is None:
                return None
            key_node, node = found
            start = (node if key_node is None else key_node).start_mark
        if node is None or start is None:
            return None
        end = node.end_mark  # of a block, where the next one starts
        return start.line + 1, max(start.line + 1, end.line + (1 if end.column else 0))


@lru_cache(maxsize=16)
def _composed(text: str) -> yaml.Node | None:
    """A text's nodes with their marks; the last ones are kept, for a file with many errors."""
    try:
        return yaml.compose(text, Loader=yaml.CBaseLoader)
    except yaml.YAMLError:
        return None


def _child(node: yaml.Node | None, key: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == key:
                return key_node, value_node
    elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return None, node.value[key]
    return None


def is_comment(text: str, position: Position) -> bool:
    """Whether a ``#`` that follows a space or starts a line starts a comment, and is not part of a string."""
    place = position.line - 1, position.column - 1
    try:
        return not any(_holds(token, place) for token in yaml.scan(text, Loader=yaml.CBaseLoader))
    except yaml.YAMLError:
        return True


def _holds(token: yaml.Token, place: tuple[int, int]) -> bool:
    """Whether a token is a string around a place; the first line of a block is its head, with room for a comment."""
    if not isinstance(token, yaml.ScalarToken) or not token.style:
        return False
    start, end = token.start_mark, token.end_mark
    is_head = token.style in "|>" and place[0] == start.line
    return not is_head and (start.line, start.column) < place < (end.line, end.column)


def decode(file: str, content: bytes) -> Source | Diagnostic:
    """The text of a file's bytes: UTF-8 without a byte order mark, not larger than `MAX_BYTES`."""
    if len(content) > MAX_BYTES:
        return _at_start(
            file, f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB", "Split it: one object a file."
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return _at_start(file, "the file starts with a byte order mark", "Save it as UTF-8 without a byte order mark.")
    try:
        return Source(file, content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        return Diagnostic(
            rule=UNREADABLE,
            message="the file isn't UTF-8 text",
            hint="Save it as UTF-8.",
            origin=Origin(file),
            position=Position(line, column),
        )


def _at_start(file: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=UNREADABLE, message=message, hint=hint, origin=Origin(file), position=Position(1, 1))


def parse(source: Source) -> tuple[Any, list[Diagnostic]]:
    """The plain data of a file and what is wrong with its YAML. The data counts only where nothing is."""
    text = source.text
    refused = _not_text(text) or _too_much(text) or _directive(text)
    if refused:
        return None, [_diagnostic(source, REFUSED_YAML, *refused)]
    try:
        node = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        return None, [_syntax_error(source, error)]
    if node is None:
        return None, []
    try:
        return _plain(node), []
    except _NotPlainError:
        return None, first_of(_problems(source, node))


class _Composer(CParser):
    """libyaml's composer without PyYAML's resolver: what a plain scalar means is decided in `_scalar`."""

    def resolve(self, _kind: type[yaml.Node], _value: str, _implicit: object) -> str:
        return _STR

    def descend_resolver(self, _parent: yaml.Node | None, _index: object) -> None:
        """Nothing depends on where a node is."""

    def ascend_resolver(self) -> None:
        """The counterpart."""


class _NotPlainError(Exception):
    """The quick walk met something refused; a slower one then tells all of it."""


def _plain(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        if node.tag not in _PLAIN_TAGS:
            raise _NotPlainError
        return node.value if node.style else _scalar(node.value)
    if node.tag not in _PLAIN_TAGS:
        raise _NotPlainError
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item) for item in node.value]
    result: dict[str, Any] = {}
    for key, value in node.value:
        if type(key) is not yaml.ScalarNode or key.value in result or not (key.style or _is_word(key.value)):
            raise _NotPlainError
        result[key.value] = _plain(value)
    return result


def _scalar(text: str) -> Any:
    """The value of a plain scalar by YAML 1.2's core schema."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INT.fullmatch(text):
        return _bounded(int(text) if len(text) < 40 else _LARGEST)
    if _OTHER_INT.fullmatch(text):
        return _bounded(int(text, 0))
    if _FLOAT.fullmatch(text):
        number = _bounded(float(text))
        return int(number) if number.is_integer() else number
    if _NOT_FINITE.fullmatch(text):
        raise _NotPlainError
    return text


Number = TypeVar("Number", int, float)


def _bounded(number: Number) -> Number:
    """A number that every reader of the data can hold; nothing in an inventory is larger."""
    if abs(number) >= _LARGEST:
        raise _NotPlainError
    return number


def _is_word(text: str) -> bool:
    """Whether a plain key is a string by YAML 1.2, and not a merge key."""
    return text != "<<" and text not in _CONSTANTS and (text[0] not in _NUMBER_STARTS or _scalar(text) is text)


def _problems(source: Source, node: yaml.Node) -> Iterator[Diagnostic]:
    """Everything in a document that is refused, in document order."""
    if node.tag not in _PLAIN_TAGS:
        yield _refuse(source, node, f"the tag {_short(node.tag)} is not used in an inventory", "Remove the tag.")
    if isinstance(node, yaml.ScalarNode):
        if not node.style and _is_out_of_bounds(node.value):
            hint = "Write it in quotes if it isn't meant as a number."
            yield _refuse(source, node, "the number is beyond what an inventory can hold", hint)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _problems(source, item)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, Position] = {}
        for key, value in node.value:
            yield from _key_problems(source, key, seen)
            yield from _problems(source, value)


def _is_out_of_bounds(text: str) -> bool:
    try:
        _scalar(text)
    except _NotPlainError:
        return True
    return False


def _key_problems(source: Source, key: yaml.Node, seen: dict[str, Position]) -> Iterator[Diagnostic]:
    if not isinstance(key, yaml.ScalarNode):
        yield _refuse(source, key, "a key must be a single word", "Write the key as a string.")
        return
    position = _position_of(key)
    if key.value == "<<" and not key.style:
        yield _refuse(source, key, "merge keys are not part of YAML 1.2", "Use a profile or the site's defaults.")
    elif not key.style and (_is_out_of_bounds(key.value) or not _is_word(key.value)):
        yield _refuse(source, key, f"the key {_short(key.value)} is not a string", "Write it in quotes.")
    elif key.value in seen:
        first = seen[key.value]
        message = f"the key {_short(key.value)} stands here again; it stands first in line {first.line}"
        hint = "Only one of them would count: keep the one that is meant."
        yield _diagnostic(source, DUPLICATE_KEY, message, hint, position)
    seen.setdefault(key.value, position)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _refuse(source: Source, node: yaml.Node, message: str, hint: str) -> Diagnostic:
    return _diagnostic(source, REFUSED_YAML, message, hint, _position_of(node))


def _position_of(part: yaml.Node | yaml.Event) -> Position:
    mark = part.start_mark
    assert mark is not None, "the parser knows where it is"
    return Position(mark.line + 1, mark.column + 1)


def _diagnostic(source: Source, rule: Rule, message: str, hint: str, position: Position) -> Diagnostic:
    return Diagnostic(rule=rule, message=message, hint=hint, origin=Origin(source.file), position=position)


def _syntax_error(source: Source, error: yaml.MarkedYAMLError) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
    message = " ".join(filter(None, (error.context, error.problem))) or "not valid YAML"
    lines = source.text.splitlines()[position.line - 1 : position.line]
    at_tab = any(line[position.column - 1 : position.column] == "\t" for line in lines)
    hint = "Indent with spaces." if at_tab else "Correct the YAML here, or a little before."
    return _diagnostic(source, NOT_YAML, message, hint, position)


Refusal = tuple[str, str, Position]


def _not_text(text: str) -> Refusal | None:
    found = re.search("[^\t\n\r -~]" if text.isascii() else _NOT_TEXT, text)
    if found is None:
        return None
    lines = f"{text[: found.start()]}|".splitlines()
    position = Position(len(lines), len(lines[-1]))
    return f"the character U+{ord(found[0]):04X} is not used in an inventory", "Remove it.", position


def _directive(text: str) -> Refusal | None:
    if not text.startswith("%") and "\n%" not in text:
        return None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("%YAML", "%TAG")):
            return "directives are not used in an inventory", "Remove the line: YAML 1.2 is meant.", Position(number, 1)
        if not line.startswith(("#", "%")) and line.strip():
            return None
    return None


def _too_much(text: str) -> Refusal | None:
    """Refuse what a node no longer shows, or what would exhaust a recursive reader.

    These are tags, anchors, aliases and deep nesting. Most texts have too few characters of theirs to be looked at.
    """
    openings = sum(map(text.count, ("[", "{", "- ", "-\n", "? ", "?\n")))
    is_plain = "*" not in text and not (("!" in text or "&" in text) and _PROPERTY.search(text))
    if is_plain and openings <= MAX_DEPTH and " " * MAX_DEPTH not in text:
        return None
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CBaseLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            refused = _refused_event(event)
            if depth > MAX_DEPTH:
                refused = f"the nesting is deeper than {MAX_DEPTH} levels", "An inventory needs about eight."
            if refused:
                return *refused, _position_of(event)
    except yaml.YAMLError:
        return None
    return None


def _refused_event(event: yaml.Event) -> tuple[str, str] | None:
    tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
    if tag:
        return f"the tag {_short(tag)} is not used in an inventory", "Remove the tag."
    if isinstance(event, yaml.AliasEvent):
        return "aliases are not used in an inventory", "Write the value out, or use a profile."
    return ("anchors are not used in an inventory", "Remove the anchor.") if anchor else None
