"""What a file says, fact by fact, in words that its reader knows: one module a format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

from kvmgen.difference.fact import Fact
from kvmgen.difference.xml_facts import alike, crowded, xml_facts

Names = Mapping[str, str]
"""What things are called instead of by their MACs."""


def facts_of_both(path: str, before: str, after: str, names: tuple[Names, Names]) -> tuple[list[Fact], list[Fact]]:
    """What two versions of a file say, in which things are called alike.

    ``path`` is its way in the host's folder, which tells its format; ``names`` are each version's own. Of a guest,
    parts that are the same to the letter may be left out.
    """
    if path.endswith(".xml"):
        several = crowded(before) | crowded(after)
        same = alike(before, after) if names[0] == names[1] else frozenset()
        old, new = (
            list(xml_facts(text, own, several, same)) if text else []
            for text, own in zip((before, after), names, strict=True)
        )
        return old, new
    return _facts(path, before), _facts(path, after)


def _facts(path: str, text: str) -> list[Fact]:
    if not text:
        return []
    inner = re.sub(r"^guests/[^/]+/", "", path)
    reader = next((reader for pattern, reader in _FORMATS if re.match(pattern, inner)), _by_line)
    return list(reader(text.splitlines()))


def _by_section(lines: Iterable[str]) -> Iterator[Fact]:
    """NetworkManager's profiles and systemd's units: ``[section]`` and ``key=value``."""
    section = ""
    for number, line in enumerate(lines, 1):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line.startswith("#"):
            yield _comment(line, number)
        elif line.strip():
            key, _, value = line.partition("=")
            # address1=, address2= are one list
            name = re.sub(r"(?<=^address)\d+$|(?<=^route)\d+$|(?<=^routing-rule)\d+$", "", key.strip())
            yield Fact(f"{section}: {name}" if section else name, value.strip(), number)


def _by_key(lines: Iterable[str]) -> Iterator[Fact]:
    """``KEY=value`` and ``key = value``: ifcfg files and kernel settings."""
    for number, line in enumerate(lines, 1):
        key, separator, value = line.partition("=")
        if line.startswith("#"):
            yield _comment(line, number)
        elif separator and " " not in key.strip():
            yield Fact(key.strip(), value.strip(), number)
        elif line.strip():
            yield Fact("line", line.strip(), number)


def _iptables(lines: Iterable[str]) -> Iterator[Fact]:
    """What iptables-restore reads: policies by chain, rules in their order."""
    table = ""
    for number, line in enumerate(lines, 1):
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chain, policy, *_ = line[1:].split()
            yield Fact(f"{table} {chain}: policy", policy, number)
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            yield Fact(f"{table} {chain}: rule", rule, number, ordered=True)
        elif line.startswith("#"):
            yield _comment(line, number)
        elif line.strip() and line != "COMMIT":
            yield Fact("line", line, number, ordered=True)


def _nftables(lines: Iterable[str]) -> Iterator[Fact]:
    """nft's own language, as kvmgen writes it: a rule a line."""
    way: list[str] = []
    for number, line in enumerate(lines, 1):
        words = line.strip()
        if words.endswith("{"):
            way.append(words[:-1].strip())
        elif words == "}":
            way = way[:-1]
        elif words.startswith("#"):
            yield _comment(words, number)
        elif words:
            yield Fact(f"{way[-1]}: rule" if way else "command", words, number, ordered=True)


def _yaml(lines: Iterable[str]) -> Iterator[Fact]:
    """cloud-init's seeds, as kvmgen writes them: what a line says, under the keys that it is indented below."""
    way: list[tuple[int, str]] = []
    texts = [*lines, ""]
    for number, (line, following) in enumerate(pairwise(texts), 1):
        words, indent = line.strip(), _indent(line)
        if words.startswith("#"):
            yield _comment(words, number)
        elif words:
            way = [step for step in way if step[0] < indent]
            key, separator, value = words.partition(":")
            if separator and not words.startswith("-") and (not value or value.startswith(" ")):
                way.append((indent, key.strip('"')))
                if value or _indent(following) <= indent:
                    yield Fact(": ".join(step for _, step in way), value.strip(), number)
            else:
                yield Fact(": ".join(step for _, step in way) or "line", words, number, ordered=True)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _by_line(lines: Iterable[str]) -> Iterator[Fact]:
    """Whatever else there is, line by line."""
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            yield _comment(line, number)
        elif line.strip():
            yield Fact("line", line.strip(), number, ordered=True)


def _comment(line: str, number: int) -> Fact:
    return Fact("comment", line.lstrip("# "), number)


Reader = Callable[[Iterable[str]], Iterator[Fact]]

_FORMATS: tuple[tuple[str, Reader], ...] = (
    (r"etc/NetworkManager/system-connections/|etc/systemd/", _by_section),
    (r"etc/sysconfig/network-scripts/(ifcfg|keys)-|etc/sysconfig/network$|etc/sysctl|etc/firewalld/.+\.conf$", _by_key),
    (r"etc/sysconfig/ip6?tables$", _iptables),
    (r"etc/nftables/", _nftables),
    (r"seed/", _yaml),
)
"""Formats by what the path starts with, a guest's own folder left out."""
