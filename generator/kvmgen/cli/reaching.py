"""`reach`: whether a packet gets to where it is sent."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from kvmgen.cli._shared import Inventory, ShowFormat, loaded


class Verdict(StrEnum):
    """What may become of a packet."""

    DELIVERED = "delivered"
    BLOCKED = "blocked"
    ONE_WAY = "one-way"
    UNKNOWN = "unknown"


def reach(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A guest, GUEST:NIC, a host, an address, or outside.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same.")],
    tcp: Annotated[int | None, typer.Option(help="A TCP port.", min=1, max=65535)] = None,
    udp: Annotated[int | None, typer.Option(help="A UDP port.", min=1, max=65535)] = None,
    icmp: Annotated[str | None, typer.Option(help="An ICMP type, by its name or number.")] = None,
    icmpv6: Annotated[str | None, typer.Option(help="An ICMPv6 type, by its name or number.")] = None,
    arp: Annotated[bool, typer.Option("--arp", help="An ARP reply.")] = False,
    four: Annotated[bool, typer.Option("-4", help="IPv4 only.")] = False,
    six: Annotated[bool, typer.Option("-6", help="IPv6 only.")] = False,
    spoof_ip: Annotated[str | None, typer.Option(help="Send under this address.")] = None,
    spoof_mac: Annotated[str | None, typer.Option(help="Send under this MAC.")] = None,
    expect: Annotated[Verdict | None, typer.Option(help="Exit with 1 where a verdict isn't this.")] = None,
    format_: Annotated[ShowFormat, typer.Option("--format", help="For people, or for programs.")] = ShowFormat.TEXT,
    inventory: Inventory = Path("inventory"),
) -> None:
    """Follow a packet through the files that the hosts would get: does it get there, and which line decides.

    Without a protocol it is a ping. Exits with 0 whatever the verdict is, unless --expect names another one.
    """
    from kvmgen.asking import Asked, Unanswerable, ask

    result = loaded(inventory)
    versions = tuple(version for version, wanted in ((4, four), (6, six)) if wanted) or (4, 6)
    ports: dict[str, int | str | None] = {"tcp": tcp, "udp": udp, "icmp": icmp, "icmpv6": icmpv6}
    asked = Asked(source=source, target=target, versions=versions, spoof_ip=spoof_ip, spoof_mac=spoof_mac, arp=arp)
    try:
        told, verdicts = ask(result, asked, ports, as_json=format_ is ShowFormat.JSON)
    except Unanswerable as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(told)
    if expect is not None and verdicts != {expect}:
        raise typer.Exit(1)
