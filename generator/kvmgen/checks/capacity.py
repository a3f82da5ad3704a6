"""What guests need and hosts have."""

from __future__ import annotations

from collections.abc import Iterator

from kvmgen.diagnostics import Diagnostic, Rule, Severity
from kvmgen.model.guest import Guest
from kvmgen.model.host import Host
from kvmgen.model.site import Site
from kvmgen.model.values import GIB, MIB

TOGETHER_TOO_LARGE = Rule(code="KV425", title="Guests that need more memory together than their host has")
TOO_LARGE = Rule(code="KV426", title="A guest that needs more memory than a host has")
TOO_MANY_CPUS = Rule(code="KV427", title="A guest with more CPUs than its host", severity=Severity.WARNING)

_NAMED = 3


def together(site: Site) -> Iterator[Diagnostic]:
    """The guests that start with a host take their memory at once; where it doesn't suffice, the kernel kills one.

    Counted is what the guests that are at home on the host and start with it begin with: `current-memory`, or `memory`
    where it isn't given. Guests with `autostart: false` aren't counted.

    Bad::

        # hosts/kvm01.yaml
        memory: 16 GiB

        # guests/web01.yaml
        memory: 12 GiB

        # guests/web02.yaml
        memory: 8 GiB

    Good::

        # hosts/kvm01.yaml
        memory: 16 GiB

        # guests/web01.yaml
        memory: 12 GiB
        current-memory: 4 GiB

        # guests/web02.yaml
        memory: 8 GiB

    Source: https://docs.kernel.org/mm/overcommit-accounting.html; current-memory at
    https://libvirt.org/formatdomain.html#memory-allocation.
    """
    at_home: dict[str, list[Guest]] = {}
    for guest in site.guests.values():
        if guest.autostart:
            at_home.setdefault(guest.home, []).append(guest)
    for name, guests in at_home.items():
        host = site.hosts[name]
        if host.memory is None:
            continue
        fitting = [guest for guest in guests if guest.memory <= host.memory]  # TOO_LARGE tells of the others
        needed = sum(guest.current_memory for guest in fitting)
        if needed > host.memory:
            yield _together(host, fitting, needed)


def _together(host: Host, guests: list[Guest], needed: int) -> Diagnostic:
    largest = sorted(guests, key=lambda guest: (-guest.current_memory, guest.name))[:_NAMED]
    return Diagnostic(
        rule=TOGETHER_TOO_LARGE,
        message=f"the {len(guests)} guests that start with {host.name} need {_amount(needed)} together, "
        f"and it has {_amount(host.memory or 0)}",
        hint="Lower what they start with (`current-memory`), move some to another host, or write `autostart: false`.",
        origin=host.origin.at("memory"),
        related=tuple(
            (
                guest.at("memory" if guest.current_memory == guest.memory else "current-memory"),
                f"{guest.name} takes {_amount(guest.current_memory)}",
            )
            for guest in largest
        ),
    )


def _amount(kib: int) -> str:
    unit, name = (GIB, "GiB") if kib >= GIB else (MIB, "MiB")
    return f"{kib / unit:.1f}".removesuffix(".0") + f" {name}"


def too_large(site: Site) -> Iterator[Diagnostic]:
    """QEMU asks for all of a guest's memory when it starts: on a host that has less, it doesn't, or lives in swap.

    Every host that can carry the guest is looked at, not its home alone.

    Bad::

        # hosts/kvm02.yaml
        memory: 4 GiB

        # guests/web01.yaml
        hosts: [kvm01, kvm02]
        memory: 8 GiB

    Good::

        # hosts/kvm02.yaml
        memory: 4 GiB

        # guests/web01.yaml
        hosts: [kvm01]
        memory: 8 GiB

    Source: https://docs.kernel.org/mm/overcommit-accounting.html.
    """
    for guest in site.guests.values():
        for name in guest.hosts:
            host = site.hosts[name]
            if host.memory is not None and guest.memory > host.memory:
                yield Diagnostic(
                    rule=TOO_LARGE,
                    message=f"{guest.name} has {_amount(guest.memory)} of memory, and {name}, which can carry it, has "
                    f"{_amount(host.memory)}",
                    hint=f"Give it less, or take {name} from its `hosts`.",
                    origin=guest.at("memory"),
                    related=((host.origin.at("memory"), f"the memory of {name}"),),
                )


def too_many_cpus(site: Site) -> Iterator[Diagnostic]:
    """Virtual CPUs beyond the host's own never run at one time: they wait for each other, holding locks.

    A guest is faster with as many as the host has, and much faster with fewer than that.

    Bad::

        # hosts/kvm01.yaml
        cpus: 8

        # guests/web01.yaml
        vcpus: 16

    Good::

        # hosts/kvm01.yaml
        cpus: 8

        # guests/web01.yaml
        vcpus: 8

    Source: QEMU itself warns of it, in https://gitlab.com/qemu-project/qemu/-/blob/master/accel/kvm/kvm-all.c; the vcpu
    element at https://libvirt.org/formatdomain.html#cpu-allocation.
    """
    for guest in site.guests.values():
        for name in guest.hosts:
            host = site.hosts[name]
            if host.cpus is not None and guest.vcpus > host.cpus:
                yield Diagnostic(
                    rule=TOO_MANY_CPUS,
                    message=f"{guest.name} has {guest.vcpus} virtual CPUs, and {name}, which can carry it, runs "
                    f"{host.cpus} at a time",
                    hint=f"Give it {host.cpus} at most.",
                    origin=guest.at("vcpus"),
                    related=((host.origin.at("cpus"), f"the CPUs of {name}"),),
                )
