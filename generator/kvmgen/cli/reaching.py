"""`reach`: whether a packet gets to where it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvmgen.cli._shared import Inventory, loaded
from kvmgen.cli._sides import both_sides

if TYPE_CHECKING:
    from kvmgen.asking import Asked


class Verdict(StrEnum):
    """What may become of a packet."""

    DELIVERED = "delivered"
    BLOCKED = "blocked"
    ONE_WAY = "one-way"
    UNKNOWN = "unknown"


class ReachFormat(StrEnum):
    """How answers are told."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


def reach(
    source: Annotated[
        str | None, typer.Argument(metavar="[FROM]", help="A guest, GUEST:NIC, a host, an address, or outside.")
    ] = None,
    target: Annotated[str | None, typer.Argument(metavar="[TO]", help="The same.")] = None,
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
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Who reaches whom; FROM and TO, with commas, are whom it is only about.")
    ] = False,
    diff: Annotated[
        str | None, typer.Option(metavar="REV", help="What the work tree opens and closes, compared with a revision.")
    ] = None,
    services: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="With --matrix or --diff: tcp/22,udp/53,ping. Otherwise all that are named."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="With --matrix --format csv: a line for every pair.")] = False,
    format_: Annotated[
        ReachFormat, typer.Option("--format", help="For people, or for programs; csv of a matrix.")
    ] = ReachFormat.TEXT,
    inventory: Inventory = Path("inventory"),
) -> None:
    """Follow a packet through the files that the hosts would get: does it get there, and which line decides.

    Without a protocol it is a ping. Exits with 0 whatever the verdict is, unless --expect names another one.
    """
    from kvmgen.asking import Asked, Unanswerable

    versions = tuple(version for version, wanted in ((4, four), (6, six)) if wanted) or (4, 6)
    ports: dict[str, int | str | None] = {"tcp": tcp, "udp": udp, "icmp": icmp, "icmpv6": icmpv6}
    of_one = {**ports, "arp": arp or None, "spoof-ip": spoof_ip, "spoof-mac": spoof_mac, "expect": expect}
    of_many = {"services": services, "each": each or None, "format csv": format_ if format_ == "csv" else None}
    try:
        if matrix or diff is not None:
            _check_many(of_one, matrix and diff is not None, source or target if diff is not None else None)
            if diff is not None:
                _before(inventory, diff, services, format_)
                return
            _together(inventory, (source, target), services, versions, format_, each=each)
            return
        _check_one(of_many, source, target)
        asked = Asked(
            source=source or "",
            target=target or "",
            versions=versions,
            spoof_ip=spoof_ip,
            spoof_mac=spoof_mac,
            arp=arp,
        )
        verdicts = _alone(inventory, asked, ports, format_)
    except Unanswerable as error:
        raise typer.BadParameter(str(error)) from None
    if expect is not None and verdicts != {expect}:
        raise typer.Exit(1)


def _check_one(of_many: Mapping[str, object], source: str | None, target: str | None) -> None:
    """Whether the words ask about one packet."""
    given = [name for name, said in of_many.items() if said is not None]
    if given:
        message = f"--{given[0]} goes with --matrix"
        raise typer.BadParameter(f"{message} or --diff" if given[0] == "services" else message)
    if source is None or target is None:
        wanted = "Who is to be reached is missing" if source else "Who sends and who is to be reached are missing"
        message = f"{wanted}: kvmgen reach FROM TO, or kvmgen reach --matrix for everybody."
        raise typer.BadParameter(message)


def _check_many(of_one: Mapping[str, object], both: bool, ends: str | None) -> None:
    """Whether the words ask about many packets."""
    if both:
        message = "--matrix tells how things are and --diff what changes: ask for one of them."
        raise typer.BadParameter(message)
    if ends is not None:
        message = f"--diff is about everybody, not about {ends} alone."
        raise typer.BadParameter(message)
    given = [name for name, said in of_one.items() if said is not None]
    if given:
        message = f"--{given[0]} is about one packet: of many, --services names the services."
        raise typer.BadParameter(message)


def _alone(inventory: Path, asked: Asked, ports: Mapping[str, int | str | None], format_: ReachFormat) -> set[str]:
    from kvmgen.asking import ask

    told, verdicts = ask(loaded(inventory), asked, ports, as_json=format_ is ReachFormat.JSON)
    typer.echo(told)
    return verdicts


def _together(
    inventory: Path,
    ends: tuple[str | None, str | None],
    services: str | None,
    versions: tuple[int, ...],
    format_: ReachFormat,
    *,
    each: bool,
) -> None:
    from kvmgen.asking.many import AskedOfAll, ask_all

    if each and format_ is not ReachFormat.CSV:
        message = "--each is for --format csv."
        raise typer.BadParameter(message)
    asked = AskedOfAll(sources=ends[0], targets=ends[1], services=services, versions=versions)
    typer.echo(ask_all(loaded(inventory), asked, format_, each=each))


def _before(inventory: Path, revision: str, services: str | None, format_: ReachFormat) -> None:
    from kvmgen.asking.changes import ask_before

    if format_ is ReachFormat.CSV:
        message = "--diff is told as text or json."
        raise typer.BadParameter(message)
    with both_sides(inventory, revision) as sides:
        told = ask_before(sides, services, as_json=format_ is ReachFormat.JSON)
    typer.echo(told)
