"""firewalld's zones and policies, read from a machine's files, with the rules that they stand for.

Sources: firewalld.zone(5), firewalld.policy(5), firewalld.richlanguage(5), firewalld.service(5), and the rules that
firewalld 1.3 makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from kvmgen.reachability._xml import Element, line_of, read, text_of
from kvmgen.reachability.firewalld_services import DESTINATIONS, POLICIES, SERVICES, ZONES
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.step import Cause
from kvmgen.value import value

_DENY, _ALLOW = 1, 2
"""At one priority what refuses comes before what accepts."""

_FAMILIES = {"ipv4": 4, "ipv6": 6}
_ACTIONS = {"accept": "ACCEPT", "reject": "REJECT", "drop": "DROP"}


@value
class Line:
    """One rule of a zone's or policy's: its words for one IP version, or for both (``version`` 0)."""

    text: str
    cause: Cause
    version: int = 0
    priority: int = 0
    stage: int = _ALLOW
    everywhere: bool = False  # also of forwarded packets

    @property
    def order(self) -> tuple[int, int]:
        """What rules are sorted by."""
        return self.priority, self.stage


@value
class Holder:
    """A zone or a policy. ``target`` is ACCEPT, DROP, REJECT, CONTINUE or default."""

    name: str
    target: str
    cause: Cause
    lines: tuple[Line, ...]
    masquerade: Cause | None = None
    forward: Cause | None = None
    interfaces: Mapping[str, Cause] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    priority: int = -1
    ingress: frozenset[str] = frozenset()
    egress: frozenset[str] = frozenset()
    redirects: tuple[Line, ...] = ()


class Reader:
    """The zones, policies and services of one machine; what its files don't have is firewalld's own."""

    def __init__(self, folder: Folder, root: str, major: int) -> None:
        self._root, self._major = f"{root}etc/firewalld/", major
        self._services = {
            _stem(path): read(text) for path, text in folder.under(f"{self._root}services/") if path.endswith(".xml")
        }
        self._files = {path: text for path, text in folder.under(self._root) if path.endswith(".xml")}

    def zones(self) -> dict[str, Holder]:
        """Every zone by its name."""
        return self._holders("zones", ZONES)

    def policies(self) -> dict[str, Holder]:
        """Every policy by its name."""
        return self._holders("policies", POLICIES)

    def _holders(self, kind: str, own: Mapping[str, str]) -> dict[str, Holder]:
        cockpit = "<service name='cockpit'/>" if self._major >= 8 else ""
        singular = "zone" if kind == "zones" else "policy"
        found = {
            name: self._holder(name, f"firewalld:{singular} {name}", text.replace("{}", cockpit), own=True)
            for name, text in own.items()
        }
        for path, text in self._files.items():
            if path.startswith(f"{self._root}{kind}/"):
                found[_stem(path)] = self._holder(_stem(path), path, text)
        return found

    def _holder(self, name: str, path: str, text: str, *, own: bool = False) -> Holder:
        root = read(text)
        lines = [line for element in root for line in self._lines(element, path, own)]
        target = root.get("target", "CONTINUE" if root.tag == "policy" else "default").strip("%")
        causes = {str(element.tag): _cause(path, element, own) for element in root}
        return Holder(
            name=name,
            target=target,
            cause=Cause(file=path, text=f"target {target}", line=0 if own else line_of(root)),
            lines=tuple(sorted(lines, key=lambda line: line.order)),
            masquerade=causes.get("masquerade"),
            forward=causes.get("forward"),
            interfaces={e.get("name", ""): _cause(path, e, own) for e in root.findall("interface")},
            sources=tuple(e.get("address", "") for e in root.findall("source") if e.get("address")),
            priority=int(root.get("priority", "-1")),
            ingress=frozenset(e.get("name", "") for e in root.findall("ingress-zone")),
            egress=frozenset(e.get("name", "") for e in root.findall("egress-zone")),
            redirects=tuple(self._redirects(root, path, own)),
        )

    def _redirects(self, root: Element, path: str, own: bool) -> Iterator[Line]:
        for element in root.findall("forward-port"):
            port, protocol = element.get("port", "").replace("-", ":"), element.get("protocol", "tcp")
            to, at = element.get("to-addr", ""), element.get("to-port", "")
            goes = f"DNAT --to-destination {to}{':' * bool(at)}{at}" if to else f"REDIRECT --to-ports {at}"
            text = f"-p {protocol} --dport {port} -j {goes}"
            yield Line(text=text, cause=_cause(path, element, own), version=6 if ":" in to else 4 if to else 0)

    def _lines(self, element: Element, path: str, own: bool) -> Iterator[Line]:
        cause = _cause(path, element, own)
        if element.tag == "rule":
            yield from self._rich(element, cause)
        elif element.tag == "icmp-block":
            for version, words in self._words(element):
                yield Line(text=f"{words} -j REJECT", cause=cause, version=version, stage=_DENY, everywhere=True)
        else:
            for version, words in self._words(element):
                yield Line(text=f"{words} -j ACCEPT", cause=cause, version=version)

    def _rich(self, rule: Element, cause: Cause) -> Iterator[Line]:
        """A rich rule; one that only logs or counts has no action, and decides nothing."""
        blocks = rule.find("icmp-block") is not None
        action = next((child.tag for child in rule if child.tag in _ACTIONS), "reject" if blocks else None)
        if action is None:
            return
        ends, family = _ends(rule)
        stage = _ALLOW if action == "accept" else _DENY
        what = next((list(self._words(child)) for child in rule if child.tag in _ELEMENTS), [(0, "")])
        for version, words in what:
            for_version = version or family
            if version and family and version != family:
                continue
            yield Line(
                text=f"{ends} {words} -j {_ACTIONS[str(action)]}".strip(),
                cause=cause,
                version=for_version,
                priority=int(rule.get("priority", "0")),
                stage=stage,
            )

    def _words(self, element: Element) -> Iterator[tuple[int, str]]:
        """What a packet must be like for an element, each with its IP version (0 for both)."""
        name, protocol = element.get("name", ""), element.get("protocol", "")
        match element.tag:
            case "service":
                yield from self._service(name, set())
            case "port":
                yield 0, f"-p {protocol} --dport {element.get('port', '').replace('-', ':')}"
            case "source-port":
                yield 0, f"-p {protocol} --sport {element.get('port', '').replace('-', ':')}"
            case "protocol":
                yield 0, f"-p {element.get('value')}"
            case "icmp-type" | "icmp-block":
                yield 4, f"-p icmp --icmp-type {name}"
                yield 6, f"-p ipv6-icmp --icmpv6-type {name}"
            case _:
                return

    def _service(self, name: str, seen: set[str]) -> Iterator[tuple[int, str]]:
        own = self._services.get(name)
        if own is not None:
            yield from self._service_file(own, seen | {name})
            return
        if name not in SERVICES:
            yield 0, f"-m service:{name}"
            return
        for known in SERVICES[name]:
            port, _, protocol = known.partition("/")
            words = f"-p {protocol}" + (f" --dport {port.replace('-', ':')}" if port else "")
            for version in (4, 6) if name in DESTINATIONS else (0,):
                towards = DESTINATIONS.get(name, {}).get(version)
                if version == 0 or towards:
                    yield version, f"-d {towards} {words}" if towards else words

    def _service_file(self, root: Element, seen: set[str]) -> Iterator[tuple[int, str]]:
        destination = root.find("destination")
        for element in root:
            if element.tag == "include" and element.get("service", "") not in seen:
                yield from self._service(element.get("service", ""), seen)
            for version, words in self._words(element) if element.tag != "service" else ():
                if destination is None:
                    yield version, words
                    continue
                for family, number in _FAMILIES.items():
                    if destination.get(family):
                        yield number, f"-d {destination.get(family)} {words}"


_ELEMENTS = ("service", "port", "source-port", "protocol", "icmp-type", "icmp-block")


def _stem(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".xml")


def _cause(path: str, element: Element, own: bool) -> Cause:
    return Cause(file=path, text=text_of(element), line=0 if own else line_of(element))


def _ends(rule: Element) -> tuple[str, int]:
    """A rich rule's source and destination as words, and its IP version (0 for both)."""
    family = _FAMILIES.get(rule.get("family", ""), 0)
    words: list[str] = []
    for tag, option in (("source", "-s"), ("destination", "-d")):
        end = rule.find(tag)
        if end is None:
            continue
        negated = "! " if end.get("invert", "").lower() in ("yes", "true") else ""
        if end.get("address"):
            family = family or (6 if ":" in end.get("address", "") else 4)
            words.append(f"{negated}{option} {end.get('address')}")
        elif end.get("mac"):
            words.append(f"-m mac {negated}--mac-source {end.get('mac')}")
        else:
            words.append(f"-m ipset:{end.get('ipset')}")
    return " ".join(words), family


def direct(path: str, text: str) -> Iterator[tuple[str, Mapping[str, str], Sequence[str], Cause]]:
    """direct.xml's elements: what each is, its attributes, its words, and where it is."""
    for element in read(text):
        words = (element.text or "").strip()
        attributes = {str(key): str(given) for key, given in element.attrib.items()}
        yield str(element.tag), attributes, (words,), Cause(file=path, text=words, line=line_of(element))
