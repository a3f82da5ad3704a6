"""A libvirt of files and a virsh for it: what the applier asks of them, and nothing else.

Definitions are files in the folder that ``--connect scripted:FOLDER`` names: ``network/lab.xml`` is the persistent one,
``network/lab.live`` the one in effect, and ``network/lab.autostart`` is there where it starts by itself. Every command
does all of its work or none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

SCHEME = "scripted:"
WITH_VALUE = ("--parent-index",)
SECTIONS = {
    "ip-dhcp-range": ("ip", "dhcp"),
    "ip-dhcp-host": ("ip", "dhcp"),
    "dns-host": ("dns", ""),
    "dns-txt": ("dns", ""),
    "dns-srv": ("dns", ""),
    "portgroup": ("", ""),
}
"""What net-update changes: the parent, and the box in it."""


class RefusedError(Exception):
    """A command that fails; its text is what virsh prints."""


class Libvirt:
    """The objects of one kind."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder / kind
        self.folder.mkdir(parents=True, exist_ok=True)

    def names(self, *suffixes: str) -> list[str]:
        return sorted({file.stem for file in self.folder.iterdir() if file.suffix in suffixes})

    def read(self, name: str, suffix: str = ".xml") -> Element:
        file = self.folder / (name + suffix)
        if not file.exists():
            raise RefusedError(f"no {self.folder.name} with the name '{name}'")
        return ElementTree.fromstring(file.read_text())

    def dump(self, name: str, *, live: bool) -> str:
        return text_of(self.read(name, ".live" if live and self.runs(name) else ".xml"))

    def write(self, name: str, definition: Element, suffix: str = ".xml") -> None:
        temporary = self.folder / f"{name}.new"
        temporary.write_text(text_of(definition))
        temporary.replace(self.folder / (name + suffix))

    def define(self, text: str) -> None:
        definition = ElementTree.fromstring(text)
        name = definition.get("name") or definition.findtext("name") or ""
        if name in self.names(".xml", ".live"):
            there = self.read(name, ".xml" if name in self.names(".xml") else ".live").findtext("uuid")
            if there != definition.findtext("uuid"):
                raise RefusedError(f"{self.folder.name} '{name}' already exists with uuid {there}")
        self.write(name, definition)

    def runs(self, name: str) -> bool:
        return (self.folder / f"{name}.live").exists()

    def starts_by_itself(self, name: str) -> bool:
        return (self.folder / f"{name}.autostart").exists()

    def start(self, name: str) -> None:
        if self.runs(name):
            raise RefusedError(f"'{name}' is already active")
        self.write(name, self.read(name), ".live")

    def stop(self, name: str) -> None:
        self.read(name, ".live")
        (self.folder / f"{name}.live").unlink()

    def undefine(self, name: str) -> None:
        self.read(name)
        for suffix in (".xml", ".autostart"):
            (self.folder / (name + suffix)).unlink(missing_ok=True)

    def set_autostart(self, name: str, wanted: bool) -> None:
        self.read(name)
        file = self.folder / f"{name}.autostart"
        if wanted:
            file.touch()
        else:
            file.unlink(missing_ok=True)


class Virsh:
    """One call: the command's words, its options, and what stands on its standard input."""

    def __init__(self, folder: Path, options: dict[str, str], given: str) -> None:
        self.options = options
        self.given = given
        self.networks = Libvirt(folder, "network")
        self.filters = Libvirt(folder, "nwfilter")
        self.domains = Libvirt(folder, "domain")

    def has(self, option: str) -> bool:
        return option in self.options

    # -- networks --------------------------------------------------------------------------------------------------

    def net_list(self) -> str:
        persistent = self.networks.names(".xml")
        return _lines(name for name in persistent if self.has("--all") or self.networks.runs(name))

    def net_dumpxml(self, name: str) -> str:
        return self.networks.dump(name, live=not self.has("--inactive"))

    def net_define(self, _file: str) -> None:
        self.networks.define(self.given)

    def net_undefine(self, name: str) -> None:
        self.networks.undefine(name)

    def net_start(self, name: str) -> None:
        self.networks.start(name)

    def net_destroy(self, name: str) -> None:
        self.networks.stop(name)

    def net_autostart(self, name: str) -> None:
        self.networks.set_autostart(name, not self.has("--disable"))

    def net_info(self, name: str) -> str:
        self.networks.read(name)
        rows = {
            "Name": name,
            "Active": "yes" if self.networks.runs(name) else "no",
            "Persistent": "yes",
            "Autostart": "yes" if self.networks.starts_by_itself(name) else "no",
        }
        return _rows(rows)

    def net_update(self, name: str, command: str, section: str, text: str) -> None:
        if not self.has("--live"):
            raise RefusedError("only --live is scripted")
        network = self.networks.read(name, ".live")
        parent, box = SECTIONS[section]
        index = max(int(self.options.get("--parent-index", "-1")), 0)
        holder = network.findall(parent)[index] if parent == "ip" else _inside(network, parent)
        holder = _inside(holder, box)
        element = ElementTree.fromstring(text)
        same = [child for child in holder if text_of(child) == text_of(element)]
        if command == "delete":
            if not same:
                raise RefusedError(f"couldn't locate a matching {section} in network '{name}'")
            holder.remove(same[0])
        elif same:
            raise RefusedError(f"there is an existing {section} in network '{name}'")
        else:
            holder.append(element)
        self.networks.write(name, network, ".live")

    # -- filters ---------------------------------------------------------------------------------------------------

    def nwfilter_list(self) -> str:
        return _lines(f" {self.filters.read(name).findtext('uuid')}   {name}" for name in self.filters.names(".xml"))

    def nwfilter_dumpxml(self, name: str) -> str:
        return self.filters.dump(name, live=False)

    def nwfilter_define(self, _file: str) -> None:
        self.filters.define(self.given)

    def nwfilter_undefine(self, name: str) -> None:
        running = [self.domains.read(guest, ".live") for guest in self.domains.names(".live")]
        if any(reference.get("filter") == name for guest in running for reference in guest.iter("filterref")):
            raise RefusedError("nwfilter is in use")
        self.filters.undefine(name)

    # -- domains ---------------------------------------------------------------------------------------------------

    def list(self) -> str:
        return _lines(self.domains.names(".xml") if self.has("--all") else self.domains.names(".live"))

    def dumpxml(self, name: str) -> str:
        return self.domains.dump(name, live=not self.has("--inactive"))

    def define(self, _file: str) -> None:
        self.domains.define(self.given)

    def undefine(self, name: str) -> None:
        self.domains.undefine(name)

    def start(self, name: str) -> None:
        self.domains.start(name)

    def autostart(self, name: str) -> None:
        self.domains.set_autostart(name, not self.has("--disable"))

    def dominfo(self, name: str) -> str:
        self.domains.read(name)
        rows = {
            "Name": name,
            "State": "running" if self.domains.runs(name) else "shut off",
            "Persistent": "yes",
            "Autostart": "enable" if self.domains.starts_by_itself(name) else "disable",
            "Managed save": "no",
        }
        return _rows(rows)

    def snapshot_list(self, _name: str) -> str:
        return ""

    def update_device(self, name: str, _file: str) -> None:
        guest, wanted = self.domains.read(name, ".live"), ElementTree.fromstring(self.given)
        devices = _inside(guest, "devices")
        for index, interface in enumerate(devices):
            if interface.tag == "interface" and _mac(interface) == _mac(wanted):
                devices[index] = wanted
                self.domains.write(name, guest, ".live")
                return
        raise RefusedError("no device found")

    # -- and all ---------------------------------------------------------------------------------------------------

    def help(self, _command: str) -> str:
        return "--validate --keep-nvram --keep-tpm\n"


def text_of(element: Element) -> str:
    """An element, the same for the same meaning."""
    return ElementTree.tostring(_bare(element), encoding="unicode")


def _bare(element: Element) -> Element:
    copy = Element(element.tag, dict(sorted(element.attrib.items())))
    copy.text = (element.text or "").strip() or None
    copy.extend([_bare(child) for child in element])
    return copy


def _inside(element: Element, tag: str) -> Element:
    if not tag:
        return element
    found = element.find(tag)
    return ElementTree.SubElement(element, tag) if found is None else found


def _mac(interface: Element) -> str:
    mac = interface.find("mac")
    return "" if mac is None else mac.get("address", "").lower()


def _lines(words: Iterator[str] | list[str]) -> str:
    return "".join(f"{word}\n" for word in words)


def _rows(rows: dict[str, str]) -> str:
    return _lines([f"{key + ':':15} {value}" for key, value in rows.items()])


def main(arguments: list[str], given: str) -> tuple[int, str, str]:
    """Run one command of virsh with a text on its standard input; its exit code, and what it prints."""
    words, options = [], {}
    left = iter(arguments)
    for word in left:
        if word in (*WITH_VALUE, "--connect"):
            options[word] = next(left)
        elif word.startswith("--"):
            options[word] = ""
        else:
            words.append(word)
    call = Virsh(Path(options["--connect"].removeprefix(SCHEME)), options, given)
    command = getattr(call, words[0].replace("-", "_"), None)
    try:
        if command is None:
            raise RefusedError(f"unknown command: '{words[0]}'")
        return 0, command(*words[1:]) or "", ""
    except RefusedError as refused:
        return 1, "", f"error: {refused}\n"


if __name__ == "__main__":
    code, out, err = main(sys.argv[1:], "" if sys.stdin.isatty() else sys.stdin.read())
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.exit(code)
