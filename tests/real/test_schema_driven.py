"""Documents drawn from the schemas: what validates is refused with a code, or compiles to files that are accepted.

`KVMGEN_EXAMPLES=2000 KVMGEN_SEED=7 pytest tests/real/test_schema_driven.py` looks further than the sample here does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from kvmgen.artifact import Kind
from kvmgen.inventory import schema
from tests.fuzz.judge import injections
from tests.lab.host import LabHost
from tests.real import consumers, seeds
from tests.real.driven_site import SUBJECTS
from tests.real.driven_values import KNOWN
from tests.real.harvest import EXAMPLES, Sample, around, harvest
from tests.real.items import Item, Refusal, below, grouped, items, of_kind
from tests.real.packets import without_bridge_names
from tests.real.profiles import not_kept, read_back
from tests.render.shell import SHELLS
from tests.schema_strategy import ways

pytestmark = pytest.mark.real

LEAST_SHARE = 0.15
"""How many of a subject's documents must compile, for its consumers to have something to judge."""

LEAST_CODES = 2

LITTLE = 4 * 1024 * 1024
"""Memory of a guest, in KiB."""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    """A host with libvirtd and the links that the documents name."""
    with LabHost() as host:
        host.start_libvirtd()
        for link in ("br0", "br1", "eno1", "eno2"):
            host.add_bridge(link)
        yield host


@pytest.fixture(scope="module")
def furnished() -> Iterator[LabHost]:
    """A host on which the filters and networks are there that documents may name, and taps."""
    with LabHost() as host:
        host.start_libvirtd()
        for link in ("br0", "br1", "tap0", "tap1", "tap2", "tap3"):
            host.add_bridge(link)
        for artifact in around("kvm01", Kind.NWFILTER):
            host.virsh_with("nwfilter-define", artifact.text)
        for artifact in around("kvm01", Kind.NETWORK):
            assert artifact.defines is not None
            host.virsh_with("net-define", artifact.text, "--validate")
            host.virsh("net-start", artifact.defines.name)
        yield host


def samples() -> Iterator[Sample]:
    """All documents that compiled."""
    for name in SUBJECTS:
        yield from harvest(name).samples


def some(found: Sequence[Item], share: float) -> Sequence[Item]:
    """The first of the items, for a consumer that takes long: as many as ``share`` of the examples of a subject."""
    return found[: int(share * EXAMPLES)]


def names_functions(item: Item) -> bool:
    """Whether a network names virtual functions by their addresses: libvirtd looks for them when it is defined."""
    return "<address type='pci'" in item.artifact.text and item.artifact.kind is Kind.NETWORK


def hold(refusals: Iterable[Refusal]) -> None:
    """Fail with what was refused."""
    told = grouped(refusals)
    assert not told, told


def test_what_is_known_is_in_the_schemas() -> None:
    there = {way for kind in schema.KINDS for way in ways(kind)}
    assert set(KNOWN.values) <= there
    assert set(KNOWN.wanted) <= there


@pytest.mark.parametrize("name", SUBJECTS)
def test_documents_compile_or_are_refused(name: str) -> None:
    """Each in words, with a place; and of both there are enough for the rest of this module to mean something."""
    found = harvest(name)
    assert found.share >= LEAST_SHARE
    assert found.refused > 0
    assert len(found.codes) >= LEAST_CODES


def test_nothing_of_a_value_becomes_structure() -> None:
    found = items(samples(), lambda _: True)
    assert len(found) > EXAMPLES
    hold(Refusal(item, said) for item in found for said in injections(item.artifact))


# -- libvirt -----------------------------------------------------------------------------------------------------------


def test_networks_of_virtual_functions_are_in_libvirts_schema() -> None:
    found = items(samples(), names_functions)
    assert found
    hold(consumers.in_schema(found, "network"))


@pytest.mark.parametrize(("kind", "share"), [(Kind.NETWORK, 0.2), (Kind.NWFILTER, 0.2), (Kind.DOMAIN, 1.0)])
def test_libvirt_defines(lab: LabHost, kind: Kind, share: float) -> None:
    """Under validation: its schemas and its parsers; but for virtual functions, which no machine here has."""
    found = items(samples(), lambda item: item.artifact.kind is kind and not names_functions(item))
    assert len(found) > share * EXAMPLES
    hold(consumers.define(lab, found))


def test_networks_start(lab: LabHost) -> None:
    found = [item for item in items(samples(), of_kind(Kind.NETWORK)) if item.artifact.text.count("zone=") == 0]
    found = [item for item in found if "<pf " not in item.artifact.text and not names_functions(item)]
    assert len(found) > 0.1 * EXAMPLES
    hold(consumers.start_networks(lab, some(found, 0.1)))


def test_domains_start(furnished: LabHost) -> None:
    """Those that need no more memory than there is here, and no address."""
    of_guests = (sample for name in ("guest", "inside", "filter") for sample in harvest(name).samples)
    found = items((sample for sample in of_guests if "KV490" not in sample.warned), of_kind(Kind.DOMAIN))
    small = [item for item in found if item.sample.site.guests[item.name].memory <= LITTLE]
    assert len(small) > 0.1 * EXAMPLES
    hold(consumers.start_domains(furnished, some(small, 0.04)))


def test_filters_are_instantiated(furnished: LabHost) -> None:
    """Those that need no set of ipset's on the host."""
    found = items(harvest("filter").samples, lambda item: item.artifact.path == "libvirt/nwfilters/new.xml")
    found = [item for item in found if " ipset=" not in item.artifact.text]
    assert len(found) > 0.1 * EXAMPLES
    hold(consumers.instantiate_filters(furnished, some(found, 0.08)))


# -- files under /etc --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_sources_a_file_gets_what_was_meant(shell: tuple[str, ...], tmp_path: Path) -> None:
    found = items(samples(), lambda item: "/ifcfg-" in item.path or item.path == "etc/sysconfig/network")
    assert len(found) > 0.3 * EXAMPLES
    hold(consumers.source(shell, found, tmp_path))


def test_the_kernel_takes_addresses_and_routes(lab: LabHost) -> None:
    routes = items(samples(), lambda item: "/network-scripts/route" in item.path)
    links = items(samples(), lambda item: "/ifcfg-" in item.path and "IPADDR" in item.artifact.text)
    assert routes
    assert len(links) > 0.1 * EXAMPLES
    hold(consumers.configure(lab, [*some(routes, 0.3), *some(links, 0.3)]))


def test_networkmanager_keeps_every_key(lab: LabHost) -> None:
    found = items(samples(), below("etc/NetworkManager/"))
    assert len(found) > 0.3 * EXAMPLES
    chosen = some(found, 0.5)
    read = read_back(lab, [item.artifact.text for item in chosen])
    lost = ((item, said or not_kept(item.artifact.text, kept)) for item, (kept, said) in zip(chosen, read, strict=True))
    hold(Refusal(item, str(what)) for item, what in lost if what)


def test_systemd_reads_the_settings(lab: LabHost) -> None:
    found = items(samples(), below("etc/sysctl"))
    assert len(found) > 0.1 * EXAMPLES
    hold(consumers.read_settings(lab, some(found, 0.3)))


@pytest.mark.parametrize("program", ["iptables", "ip6tables"])
def test_iptables_takes_the_rules(lab: LabHost, program: str) -> None:
    found = items(samples(), below(f"etc/sysconfig/{program}"))
    assert found
    hold(consumers.restore(lab, program, found))


def test_iptables_takes_the_direct_rules(lab: LabHost) -> None:
    found = items(samples(), below("etc/firewalld/direct.xml"))
    assert len(found) > 0.05 * EXAMPLES
    hold(consumers.direct_rules(lab, found))


def test_firewalld_accepts_the_configuration(tmp_path: Path) -> None:
    """But for services that it doesn't come with, of which a warning tells."""
    found = items(samples(), below("etc/firewalld"))
    told = [item for item in found if "KV690" in item.sample.warned]
    quiet = [item for item in found if item not in told]
    assert len(quiet) > 0.08 * EXAMPLES
    hold(consumers.check_config(some(quiet, 0.15), tmp_path / "quiet"))
    refused = list(consumers.check_config(some(told, 0.05), tmp_path / "told"))
    assert all("INVALID_SERVICE" in refusal.said for refusal in refused)
    assert len(refused) == len(some(told, 0.05))


def test_cloud_init_reads_the_seeds() -> None:
    found = items(samples(), below("seed/"))
    assert len(found) > 0.02 * EXAMPLES
    hold(seeds.read(found))


def test_nftables_takes_the_tables(lab: LabHost) -> None:
    """Without the bridges' names, which not every kernel can match."""
    found = items(samples(), below("etc/nftables"))
    assert found
    for item in found:
        lab.run("nft", "-c", "-f", "-", input=without_bridge_names(lab, item.artifact.text))


CONSUMED: tuple[Callable[[Item], bool], ...] = (
    of_kind(Kind.NETWORK),
    of_kind(Kind.NWFILTER),
    of_kind(Kind.DOMAIN),
    below("etc/sysconfig/network", "etc/sysconfig/iptables", "etc/sysconfig/ip6tables", "etc/sysctl", "etc/firewalld"),
    below("etc/NetworkManager/"),
    below("seed/", "var/lib/libvirt/images/"),  # the image is read by tests/real/test_cloudinit.py
    below("etc/nftables", "etc/modules-load.d/", "etc/udev/rules.d/", "etc/systemd/system/"),
)
"""What has a reader here; modules, udev rules and parts of units hold no word of an inventory's."""


def test_every_file_has_a_reader_here() -> None:
    unread = items(samples(), lambda item: not any(reads(item) for reads in CONSUMED))
    assert [item.path for item in unread] == []
