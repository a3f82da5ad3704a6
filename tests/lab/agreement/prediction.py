"""What kvmgen says of a probe, from the very files that were loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kvmgen.model.platform import Platform
from kvmgen.model.site import Site
from kvmgen.proof import segments
from kvmgen.reachability import topology
from kvmgen.reachability.answer import Answer, Question, Service, reach
from kvmgen.reachability.consumers import Consumers
from kvmgen.reachability.folder import Folder
from kvmgen.reachability.place import Places
from kvmgen.reachability.tell import trace, verdict
from tests.lab.agreement import traffic
from tests.lab.agreement.machines import Stage


@dataclass(frozen=True, slots=True)
class PlatformHere(Platform):
    """A platform with the libvirt and the firewalld that run here: older ones read some words less, or rule otherwise.

    What kvmgen knows of those no laboratory on this machine can confirm.
    """

    libvirt_here: tuple[int, ...] = ()
    firewalld_here: tuple[int, ...] = ()

    @property
    def libvirt(self) -> tuple[int, ...]:
        """The version of libvirt."""
        return self.libvirt_here

    @property
    def firewalld(self) -> tuple[int, ...] | None:
        """The version of firewalld, where the platform has one."""
        return None if self.versions.firewalld is None else self.firewalld_here


def _here(stage: Stage) -> PlatformHere:
    meant = stage.lab.files.host.platform
    libvirt, firewalld = (_version(stage, program) for program in ("libvirtd", "firewall-offline-cmd"))
    return PlatformHere(meant.major, meant.minor, libvirt, firewalld)


def _version(stage: Stage, program: str) -> tuple[int, ...]:
    return tuple(int(part) for part in stage.lab.run(program, "--version").stdout.split()[-1].split("."))


def connected(stage: Stage, site: Site, platform: Platform | None = None) -> Consumers:
    """The stage's host and its guests, with the addresses that were leased to them.

    The platform is the one that runs here, unless another one is asked for.
    """
    files = stage.lab.files
    folder = Folder(
        name=files.host.name,
        platform=platform or _here(stage),
        files=files.texts,
        guest_platforms={guest.name: guest.inside.platform for guest in files.guests.values() if guest.inside},
    )
    site_of_one = topology.Site(folders=[folder], parties=list(stage.parties.values()), segments=segments(site))
    return Consumers(Places(site_of_one))


def predicted(consumers: Consumers, probe: traffic.Probe) -> Answer:
    """The answer to the question that a probe asks."""
    service = probe.service
    asked = Service(protocol="ping")
    if service.protocol != "icmp":
        asked = Service(protocol=service.protocol, port=service.port)
    question = Question(
        source=str(probe.source), target=str(probe.address), service=asked, version=probe.address.version
    )
    return reach(consumers, question)


def told(answer: Answer) -> Iterator[str]:
    """The answer with its trace, a line each."""
    yield verdict(answer)
    yield from trace(answer)
