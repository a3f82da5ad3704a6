"""Who speaks to whom on a stage, and by which addresses."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kvmgen.model.values import Address
from tests.lab.agreement.machines import Machine, Stage
from tests.lab.agreement.prober import Prober

Pair = tuple[Machine, Address, Machine, Address]
"""The sender and its address, the target and its address."""


def pairs(stage: Stage, prober: Prober, names: Collection[str] = ()) -> Iterator[Pair]:
    """Every ordered pair of machines, by all addresses of the target that the sender's kernel knows a way to.

    What is outside speaks from far away and, within a subnet of its own, as the router there.
    """
    for sender in stage.machines:
        for target in stage.machines:
            if sender is target or {sender.kind, target.kind} == {"outside"} or not _is_wanted(sender, target, names):
                continue
            for source, address in _addresses(stage, prober, sender, target):
                yield sender, source, target, address


def _is_wanted(sender: Machine, target: Machine, names: Collection[str]) -> bool:
    return not names or {sender.name, target.name} <= set(names)


def _addresses(stage: Stage, prober: Prober, sender: Machine, target: Machine) -> Iterator[tuple[Address, Address]]:
    for address in _own(target):
        if not _is_told_apart(stage, sender, target, address):
            continue
        if sender.kind == "outside":
            near = [own.ip for nic in sender.nics for own in nic.addresses if address in own.network]
            far = [own for own in sender.far if prober.source_for(target, own) is not None]
            for source in (one for one in (*far, *near) if one.version == address.version):
                yield source, address
        elif target.kind == "outside" and address not in target.far and not _is_near(sender, address):
            continue
        elif (source_ := prober.source_for(sender, address)) is not None:
            yield source_, address


def _own(machine: Machine) -> list[Address]:
    every = [own.ip for nic in machine.nics for own in nic.addresses]
    return [*machine.far, *(address for address in every if not address.is_link_local)]


def _is_near(machine: Machine, address: Address) -> bool:
    return any(address in own.network for nic in machine.nics for own in nic.addresses)


def _is_told_apart(stage: Stage, sender: Machine, target: Machine, address: Address) -> bool:
    """Whether an address that several machines have means this target to this sender: it is on a bridge with it.

    Only one of several machines outside stands for what is behind all other uplinks.
    """
    bridges = [{nic.bridge for nic in machine.nics if nic.bridge} for machine in (sender, target)]
    if bridges[0] & bridges[1]:
        return True
    outsides = [machine for machine in stage.machines if machine.kind == "outside"]
    owners = [machine for machine in stage.machines if address in _own(machine)]
    return len(owners) == 1 and len(outsides) < 2
