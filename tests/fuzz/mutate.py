"""Mutations of an inventory: of its bytes, of its data, and of which files there are.

A mutation changes the texts of a site, a mapping from file name to bytes; what it does follows from its random numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from kvmgen.inventory.source import Source, parse

Texts = dict[str, bytes]

HOSTILE: tuple[Any, ...] = (
    *(
        "$(reboot)",
        "`reboot`",
        '"; reboot; "',
        "'; reboot #",
        "${IFS}reboot",
        "a\nIPADDR=192.0.2.66",
        "a\rb",
        "\\",
        '"',
    ),
    *("<evil/>", "'/><evil a='", "]]>", "--><evil/><!--", "&evil;", "<?evil?>", "a\x00b", "\x1b[31mevil", "\u202eevil"),
    *(
        "../../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "~",
        "-",
        "--evil",
        "!",
        "*",
        "%s%n",
        "{{evil}}",
        "a b",
        " ",
        "",
    ),
    *(
        "\uff45th0",
        "\u0435th0",
        "\xdf",
        "\xe9",
        "x" * 10_000,
        "0x10",
        "1e5",
        "0o17",
        "12:30:45",
        "no",
        "null",
        "~",
        "<<",
    ),
    *(0, 1, -1, 7, 65535, 65536, 2**31, 2**63, -(2**63), 1.5, 1e300, True, False, None, [], {}, [[]], {"a": {}}),
    *("0.0.0.0/0", "0.0.0.0", "::/0", "::", "255.255.255.255/32", "224.0.0.1/4", "127.0.0.1/8", "ff02::1/128"),
    *("fe80::1/64", "fe80::/10", "::1/128", "192.0.2.1/33", "2001:db8::1/129", "192.0.2.300/24", "1.2.3.4-1.2.3.2"),
    *("00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "52:54:00:AB:CD:EF", "52-54-00-ab-cd-ef", "fe:54:00:00:00:01"),
    *("el6", "el7", "el8", "el8.6", "el9", "el10", "el99", "br0", "virbr0", "lo", "default", "all", "eth0", "vnet0"),
    *("nat", "route", "open", "isolated", "bridge", "clean-traffic", "kvmgen-anti-spoofing", "root", "$IP", "$NONE"),
    *(
        "-j DROP",
        "-i br0 -j ACCEPT",
        '-j DROP -m comment --comment "x"',
        "-p tcp --dport 99999 -j EVIL",
        "1 KiB",
        "0 GiB",
    ),
    *("ping", "dns", "anything", "anyone", "host", "guests", "groups", "outside", "blocked", "one-way", "echo-request"),
    *("80-22", [22, "8000-8010"], ["mac", "ip", "arp"], {"policy": "exercise"}, {"guest": "exercise01"}),
    *({"network": "default"}, {"tcp": 22, "from": "anyone"}, {"spoof": ["mac"]}, {"from": "outside", "tcp": 22}),
)
"""What has broken generators like this one, and words that mean something here."""


def mutated(texts: Texts, random: Random) -> Texts:
    """The texts after one to four mutations."""
    texts = dict(texts)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        kind = random.choices((_of_data, _of_text, _of_files), (12, 4, 1))[0]
        kind(texts, random)
    return texts


def _of_files(texts: Texts, random: Random) -> None:
    file = random.choice(sorted(texts))
    folder, _, name = file.rpartition("/")
    match random.randrange(5):
        case 0:
            del texts[file]
        case 1:
            texts[f"{folder}/copy-of-{name}" if folder else f"copy-of-{name}"] = texts[file]
        case 2:
            texts[f"{random.choice(('hosts', 'guests', 'networks', 'filters', 'policies'))}/{name}"] = texts.pop(file)
        case 3:
            texts[file] = texts[random.choice(sorted(texts))]
        case _:
            texts[file] = random.choice(
                (b"", b"{}", b"[]", b"a", b"\xff\xfe\x00", b"\xef\xbb\xbfa: 1\n", b"%YAML 1.1\n---\n")
            )


def _of_text(texts: Texts, random: Random) -> None:
    file = random.choice(sorted(texts))
    lines = texts[file].split(b"\n")
    where = random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            del lines[where]
        case 1:
            lines.insert(where, random.choice(lines))
        case 2:
            lines[where] = (
                random.choice((b" ", b"\t", b"- ", b"? ", b"!x ", b"&a ", b"*a ", b"  ", b"#")) + lines[where]
            )
        case 3:
            start = random.randrange(len(lines[where]) + 1)
            lines[where] = lines[where][:start] + bytes([random.randrange(256)]) + lines[where][start + 1 :]
        case 4:
            lines[where] = lines[where].replace(random.choice((b":", b"[", b"]", b"{", b"}", b",", b'"')), b"", 1)
        case _:
            other = texts[random.choice(sorted(texts))].split(b"\n")
            lines[where:where] = other[: random.randrange(1, 8)]
    texts[file] = b"\n".join(lines)


def _of_data(texts: Texts, random: Random) -> None:
    file = random.choice(sorted(texts))
    data, problems = parse(Source(file, texts[file].decode(errors="replace")))
    if problems or not isinstance(data, dict) or not data:
        return
    container, key = random.choice(list(_places(data)))
    random.choice(_CHANGES)(container, key, texts, random)
    texts[file] = json.dumps(data, indent=1, ensure_ascii=random.random() < 0.5).encode(errors="replace")


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a document, as its container and its key there."""
    entries = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
    for key, value in entries:
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _set_hostile(container: Any, key: Any, _: Texts, random: Random) -> None:
    container[key] = random.choice(HOSTILE)


def _remove(container: Any, key: Any, _: Texts, random: Random) -> None:
    del container[key]


def _rename(container: Any, key: Any, texts: Texts, random: Random) -> None:
    if isinstance(container, dict):
        names = (*(str(value) for value in HOSTILE if isinstance(value, str)), *_keys(texts, random))
        container[random.choice(names)] = container.pop(key)


def _double(container: Any, key: Any, _: Texts, random: Random) -> None:
    value = json.loads(json.dumps(container[key]))
    if isinstance(container, list):
        container.insert(key, value)
    else:
        container[f"{key}{random.randrange(3)}"] = value


def _take_from_elsewhere(container: Any, key: Any, texts: Texts, random: Random) -> None:
    """The same key's value in another file, or any other value: right by itself, wrong here."""
    file = random.choice(sorted(texts))
    data, problems = parse(Source(file, texts[file].decode(errors="replace")))
    if problems or not isinstance(data, dict) or not data:
        return
    places = list(_places(data))
    same = [place for place in places if place[1] == key] or places
    other, where = random.choice(same)
    container[key] = other[where]


def _nudge(container: Any, key: Any, _: Texts, random: Random) -> None:
    """A little beside what it was: an address, a number or a name."""
    value = container[key]
    if isinstance(value, bool) or value is None:
        container[key] = not value
    elif isinstance(value, int):
        container[key] = value + random.choice((-1, 1, 10, 1000))
    elif isinstance(value, str) and value:
        where = random.randrange(len(value))
        container[key] = value[:where] + random.choice("0123456789abf.:/-_ $\"'<\\") + value[where + 1 :]


_CHANGES: tuple[Callable[[Any, Any, Texts, Random], None], ...] = (
    _set_hostile,
    _set_hostile,
    _set_hostile,
    _remove,
    _rename,
    _double,
    _take_from_elsewhere,
    _take_from_elsewhere,
    _nudge,
    _nudge,
)


def _keys(texts: Texts, random: Random) -> list[str]:
    file = random.choice(sorted(texts))
    data, problems = parse(Source(file, texts[file].decode(errors="replace")))
    if problems or not isinstance(data, dict):
        return ["a"]
    return [key for _, key in _places(data) if isinstance(key, str)] or ["a"]
