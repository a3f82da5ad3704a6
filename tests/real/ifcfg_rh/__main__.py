"""Let NetworkManager's own ifcfg-rh plugin read the ifcfg files of every machine, and compare what it understands.

The machines are those of the example site, of the golden sites and of the inventory beside this file, hosts and
guests' insides. NetworkManager has to leave each link alone, as the files say, and without the line that says so has to
make one profile of each, without a complaint, that equals the one that it reads from the keyfiles of the same machine
on el9. What may differ stands in `differences.py`, with the reasons.

Debian leaves the plugin out, so that Debian's source package is built first (`build-networkmanager`, once). Its 1.42 is
newer than el7's 1.12 and 1.18 and than el8's 1.14 to 1.40: what these read otherwise isn't seen here.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from kvmgen.artifact import Artifact
from kvmgen.model.host import Node
from kvmgen.model.platform import Platform
from kvmgen.pipeline import load
from kvmgen.render import ifcfg, keyfile
from tests.real.ifcfg_rh.differences import COMPLAINTS, DIFFERENCES, compared, differences
from tests.real.ifcfg_rh.reading import HERE, STRANGER, Reader, Understood, build
from tests.real.site import INVENTORY
from tests.regenerate import GOLDEN

NOT_OURS = "NM_CONTROLLED=no\n"
HARDWARE = "HWADDR="


@dataclass(slots=True)
class Tally:
    """What was read, what is wrong, and how often each known difference was seen."""

    machines: int = 0
    links: int = 0
    properties: int = 0
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)


def machines() -> Iterator[tuple[str, Node]]:
    """Every machine whose links both formats can describe, with a name for people."""
    for inventory in (INVENTORY, *sorted(GOLDEN.glob("*/inventory")), HERE / "inventory"):
        site = load(inventory).site
        assert site is not None
        for node in site.nodes():
            if any(node.links) and not any(bridge.openvswitch for bridge in node.bridges):
                yield f"{inventory.parent.name}/{node.name}", node


def ifcfg_files(node: Node) -> list[Artifact]:
    """A machine's ifcfg files: as el7 has them where it is older, as el8 has them where it is newer."""
    return list(ifcfg.files(_within(node, 7, 8)))


def keyfiles(node: Node) -> list[Artifact]:
    """Its keyfiles: as the oldest el9 has them where it is older."""
    return list(keyfile.files(_within(node, 9, 10)))


def _within(node: Node, oldest: int, newest: int) -> Node:
    nearest = min(max(node.platform.major, oldest), newest)
    return node if nearest == node.platform.major else replace(node, platform=Platform(nearest))


def without(start: str, files: Iterable[Artifact]) -> list[Artifact]:
    """Files without the lines that start so."""
    kept = ("".join(line for line in file.text.splitlines(True) if not line.startswith(start)) for file in files)
    return [replace(file, text=text) for file, text in zip(files, kept, strict=True)]


def judge(reader: Reader, name: str, node: Node, tally: Tally) -> None:
    """Read a machine's files, and say what is wrong."""
    files, links = ifcfg_files(node), [link.name for link in node.links]
    assert all(NOT_OURS in file.text for file in files if "/ifcfg-" in file.path)
    one, other = reader.read(without(NOT_OURS, files)), reader.read(keyfiles(node))
    tally.machines += 1
    tally.links += len(links)
    found = [*_left_alone(reader, files, links), *_complaints(one, other, tally)]
    for link in links:
        found += _differences(link, one, other, tally)
    found += [f"{link}: a profile of no link" for link in one.profiles.keys() - set(links)]
    tally.wrong += [f"{name}: {what}" for what in found]


def _left_alone(reader: Reader, files: list[Artifact], links: list[str]) -> Iterator[str]:
    """Nothing but a link that no file knows is NetworkManager's.

    By the name, for stand-ins: where a file has HWADDR, NetworkManager goes by the permanent MAC alone, and a stand-in
    has none.
    """
    states = reader.states(without(HARDWARE, files), links)
    expected = dict.fromkeys(links, "unmanaged") | {STRANGER: "disconnected"}
    yield from (f"{link} is {state}" for link, state in states.items() if state != expected[link])


def _complaints(one: Understood, other: Understood, tally: Tally) -> Iterator[str]:
    for said in (*one.complaints, *other.complaints):
        known = next((complaint.text for complaint in COMPLAINTS if complaint.text == said), None)
        if known is None:
            yield said
        else:
            tally.seen[known] += 1


def _differences(link: str, one: Understood, other: Understood, tally: Tally) -> Iterator[str]:
    if link not in one.profiles or link not in other.profiles:
        yield f"{link}: no profile of its {'ifcfg file' if link not in one.profiles else 'keyfile'}"
        return
    ours, theirs = one.profiles[link], other.profiles[link]
    tally.properties += compared(ours, theirs)
    for name, was, meant in differences(ours, theirs):
        known = next((known.reason for known in DIFFERENCES if known.holds(name, was, meant)), None)
        if known is None:
            yield f"{link}: {name} is {was!r} by the ifcfg file and {meant!r} by the keyfile"
        else:
            tally.seen[known] += 1


def unseen(tally: Tally) -> list[str]:
    """What is known and wasn't seen: it may be gone from the renderers."""
    reasons = [known.reason for known in DIFFERENCES] + [complaint.text for complaint in COMPLAINTS]
    return [reason for reason in reasons if reason not in tally.seen]


def main() -> int:
    """Read everything; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-j", "--jobs", type=int, default=1, help="processors for the build (default: 1)")
    words = parser.parse_args()
    tally = Tally()
    with Reader(build(words.jobs)) as reader:
        for name, node in machines():
            judge(reader, name, node, tally)
    for what in tally.wrong:
        print(what)
    for reason in unseen(tally):
        print(f"known, and not seen any more: {reason}")
    print(
        f"{tally.machines} machines, {tally.links} links, {tally.properties} properties compared: "
        f"{sum(tally.seen.values())} known differences of {len(tally.seen)} kinds, {len(tally.wrong)} others"
    )
    return 1 if tally.wrong or unseen(tally) else 0


if __name__ == "__main__":
    sys.exit(main())
