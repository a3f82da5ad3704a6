"""Which link of a machine stands on which. Links may lead in rings and refer to what isn't there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmgen.model.host import Bond, Bridge, Link, Node, Vlan

Links = Mapping[str, Link]


def by_name(node: Node) -> Links:
    """A machine's links by name."""
    return {link.name: link for link in node.links}


def names_below(link: Link) -> tuple[str, ...]:
    """The links that a link is made of: the ports of a bond or bridge, a VLAN's parent."""
    match link:
        case Bond() | Bridge():
            return link.ports
        case Vlan():
            return (link.parent,)
    return ()


def beneath(links: Links, top: Link) -> Iterator[Link]:
    """Everything that a link stands on, however many layers down, each once and without itself."""
    seen = {top.name}
    way = list(reversed(names_below(top)))
    while way:
        name = way.pop()
        if name not in seen and name in links:
            seen.add(name)
            yield links[name]
            way += reversed(names_below(links[name]))


def ports(links: Links, link: Bond | Bridge) -> Iterator[Link]:
    """The ports of a bond or bridge, without those that aren't there."""
    return (links[name] for name in link.ports if name in links)
