"""The addresses that are leased to guests: by libvirt's DHCP server, or one that is outside."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_interface

from kvmgen.model.values import Address, Interface
from tests.lab.agreement.machines import Machine, Nic, Stage
from tests.lab.guest import LabGuest
from tests.real.packets import take_lease

LEASES = 900.0
"""Seconds; longer than anybody looks at a stage, and the end of a DHCP server that nobody stopped."""
LEARNING_TRIES = 30


def take_leases(stage: Stage, machine: Machine) -> None:
    """Let a guest's interfaces that ask for an address get one: of libvirt's server, else of one that is outside."""
    for position, nic in enumerate(machine.nics):
        party = stage.parties[nic.mac]
        if nic.addresses or not party.learned:
            continue
        router = _serve_lease(stage, nic, party.learned[0])
        if router is None:
            continue
        handle = LabGuest(stage.lab, machine.name, tap=nic.tap, mac=nic.mac)
        handle.netns, handle.interface = machine.netns, nic.name
        leased = take_lease(handle, str(party.learned[0].ip))
        own = ip_interface(f"{leased}/{party.learned[0].network.prefixlen}")
        handle.run("ip", "route", "add", "default", "via", str(router), check=False)
        machine.nics[position] = replace(nic, addresses=(own,))
        stage.parties[nic.mac] = replace(party, learned=(own,))
        any(handle.ping(str(router), count=1).all_answered for _ in range(LEARNING_TRIES))


def _serve_lease(stage: Stage, nic: Nic, address: Interface) -> Address | None:
    """Who will be the router of a leased address; ``None`` where nobody leases any there."""
    for machine in stage.machines:
        for other in machine.nics:
            near = (own.ip for own in other.addresses if own.network == address.network)
            router = next(near, None)
            if other.bridge != nic.bridge or router is None or machine.kind == "guest":
                continue
            if machine.kind == "outside":
                _start_dhcp_server(stage, machine, other, nic.mac, address)
            return router
    return None


def _start_dhcp_server(stage: Stage, machine: Machine, nic: Nic, mac: str, address: Interface) -> None:
    words = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        f"--interface={nic.name}",
        "--bind-interfaces",
        "--dhcp-authoritative",
    ]
    words += [f"--dhcp-leasefile=/run/lab/{machine.name}-{nic.name}.leases", "--no-ping", "--pid-file=", "--user=root"]
    words += [f"--dhcp-range={address.network.network_address},static", f"--dhcp-host={mac},{address.ip}"]
    stage.lab.spawn("dnsmasq", *words, netns=machine.name, timeout=LEASES)
