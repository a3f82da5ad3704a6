"""Whether what was compiled is what its reader takes for data: nothing that came from a value became structure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import yaml
from lxml import etree

from kvmgen.artifact import Artifact

LIBVIRT_SCHEMAS = Path("/usr/share/libvirt/schemas")
_FIREWALLD = frozenset(
    (
        *("direct", "chain", "rule", "passthrough", "ipv", "table", "priority"),
        *("zone", "target", "short", "description", "interface", "source", "service", "port", "masquerade", "forward"),
        *("name", "address", "protocol", "policy", "ingress-zone", "egress-zone", "family", "destination", "value"),
        *("icmp-type", "log", "prefix", "level", "accept", "drop", "reject"),
    )
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_PATH = re.compile(r"[A-Za-z0-9_.@:+-]+(/[A-Za-z0-9_.@:+-]+)*")
_COMMENT = re.compile(r"\s*[#;]")

_IFCFG = re.compile(r"""[A-Z][A-Z0-9_]*=(?:[A-Za-z0-9_.,:/%+-]*|"(?:[^"$`\\\n]|\\["$`\\])*")""")
_ROUTE = re.compile(r"[A-Za-z0-9_.:/ -]+")
_KEYFILE = re.compile(r"|\[[a-z0-9-]+\]|[a-z][a-z0-9_-]*=[A-Za-z0-9_.,:;/+%@-]+( ovs-[a-z]+)?")
_SYSCTL = re.compile(r"-?[A-Za-z0-9_./*-]+ ?= ?[A-Za-z0-9_.,:/ -]*")
_MODULE = re.compile(r"[a-z0-9_-]+")
_IPTABLES = re.compile(
    r"\*(filter|nat|mangle|raw)|:[A-Za-z0-9_-]+ (ACCEPT|DROP|-) \[0:0\]|(-A|-I) [A-Za-z0-9_-]+ \S.*|COMMIT"
)

_NFT_SIDE = r' [io]ifname (!= )?("[^"]+"|\{ "[^{}"]+"(, "[^{}"]+")+ \})'
_NFT_TARGET = r" ip6? daddr [0-9a-f.:/]+ ip6? daddr != ([0-9a-f.:]+|\{ [0-9a-f.:, ]+ \})"
_NFT = re.compile(
    r"(delete )?table bridge kvmgen( \{)?|\tchain (forward|input) \{"
    r"|\t\ttype filter hook (forward|input) priority filter; policy accept;"
    rf'|\t\tmeta ibrname "[^"]+"(({_NFT_SIDE})*|{_NFT_TARGET}) (accept|drop)|\t?\}}'
)
_DROP_IN = re.compile(r"\[Service\]|ExecStartPre=/usr/sbin/nft -f /etc/nftables/kvmgen\.nft")

_LINES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("network-scripts/ifcfg-", _IFCFG),
    ("network-scripts/route", _ROUTE),
    ("sysconfig/network", _IFCFG),
    ("NetworkManager/", _KEYFILE),
    ("sysctl", _SYSCTL),
    ("modules-load.d/", _MODULE),
    ("sysconfig/iptables", _IPTABLES),
    ("sysconfig/ip6tables", _IPTABLES),
    ("nftables/", _NFT),
    ("systemd/system/", _DROP_IN),
)
"""What a line of a file is, by a part of its path; the first that fits counts."""


def injections(artifact: Artifact) -> Iterator[str]:
    """What is wrong with an artifact's path or text, as sentences; nothing where it is harmless."""
    if not _PATH.fullmatch(artifact.path) or ".." in artifact.path.split("/"):
        yield f"the path {artifact.path!r} leads elsewhere"
    control = _CONTROL.search(artifact.text)
    if control:
        yield f"{artifact.path} has the character {control[0]!r}"
    yield from _judge(artifact.path)(artifact)


def lost(artifact: Artifact) -> Iterator[str]:
    """Lines of which nobody could say where they come from."""
    made = {} if artifact.lines is None else artifact.lines()
    if artifact.binary is None and (1 not in made or not all(made.values())):
        yield f"{artifact.path} has lines from nowhere"


def _judge(path: str) -> Callable[[Artifact], Iterator[str]]:
    if path.endswith(".xml"):
        return _xml
    if "/seed/" in path:
        return _seed
    return _json if path.endswith(".json") else _lines


_SEED_KEYS = {"meta-data": {"instance-id", "local-hostname"}, "network-config": {"version", "ethernets"}}


def _seed(artifact: Artifact) -> Iterator[str]:
    name = artifact.path.rpartition("/")[2]
    data = yaml.safe_load(artifact.text)
    if not isinstance(data, dict) or (name in _SEED_KEYS and set(data) != _SEED_KEYS[name]):
        yield f"{artifact.path} has {sorted(map(str, data))}"
    elif name == "user-data" and not artifact.text.startswith("#cloud-config\n"):
        yield f"{artifact.path} isn't cloud-config"


def _json(artifact: Artifact) -> Iterator[str]:
    json.loads(artifact.text)
    yield from ()


def _xml(artifact: Artifact) -> Iterator[str]:
    try:
        root = etree.fromstring(artifact.text.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        yield f"{artifact.path} isn't XML: {error}"
        return
    known = _libvirt_names() if artifact.path.startswith("libvirt/") else _FIREWALLD
    for element in root.iter():
        if isinstance(element.tag, str):
            strange = {element.tag, *map(str, element.attrib)} - known
            if strange:
                yield f"{artifact.path} has {sorted(strange)}"
        elif element is not root and not isinstance(element, etree._Comment):
            yield f"{artifact.path} has {type(element).__name__}"


@cache
def _libvirt_names() -> frozenset[str]:
    """Every element and attribute that libvirt's schemas know."""
    name = re.compile(r"<(?:element|attribute) name=[\"']([^\"']+)[\"']")
    found = {one for path in LIBVIRT_SCHEMAS.glob("*.rng") for one in name.findall(path.read_text())}
    assert len(found) > 300, "libvirt's schemas are part of the judgement"
    return frozenset(found) | {"arpsrcipmask", "arpdstipmask"}  # read by its parser, unknown to its schema


def _lines(artifact: Artifact) -> Iterator[str]:
    pattern = next((pattern for part, pattern in _LINES if part in artifact.path), None)
    if pattern is None:
        return
    for line in artifact.text.splitlines():
        if line.strip() and not _COMMENT.match(line) and not pattern.fullmatch(line):
            yield f"{artifact.path} has the line {line[:200]!r}"
        elif pattern is _IFCFG and line.strip() and not _COMMENT.match(line) and len(shlex.split(line)) != 1:
            yield f"{artifact.path} has more than one word in {line[:200]!r}"
