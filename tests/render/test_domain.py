"""Domains: whole files, and what must hold whatever a guest has."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from kvmgen.artifact import Defines, Image, Kind
from kvmgen.model.guest import FilterRef, Guest
from kvmgen.model.network import Portgroup
from kvmgen.model.platform import Platform
from kvmgen.render.domain import domain_xml, render
from tests.render.builders import EL9, disk, guest, network, nic, view
from tests.render.shapes import DOMAINS, GOLDEN, domain_text
from tests.render.test_network import HOSTILE_TEXT


def parsed(living: Guest, platform: Platform = EL9) -> etree._Element:
    """The domain as a parser sees it, on a host without networks."""
    return etree.fromstring(domain_xml(living, {}, platform))


@pytest.mark.parametrize("name", DOMAINS)
def test_whole_file(name: str) -> None:
    """A golden that isn't there fails."""
    assert domain_text(name) == (GOLDEN / f"domain-{name}.xml").read_text(encoding="utf-8")


@pytest.mark.real
@pytest.mark.parametrize("name", DOMAINS)
def test_libvirt_schema(name: str) -> None:
    """libvirt's own schema accepts it."""
    command = ["virt-xml-validate", str(GOLDEN / f"domain-{name}.xml"), "domain"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_artifact() -> None:
    """A network is called here what this host's libvirt calls it; images are paths or POOL/VOLUME."""
    lan = network("lan", libvirt_name="default")
    disks = (disk("vda", volume="a", pool="p"), disk("vdb", file="/b"), disk("vdc", dev="/c"), disk("sda", "sata"))
    living = guest("web01", interfaces=(nic(network="lan"),), disks=disks, autostart=False)
    (artifact,) = render(view(networks=(lan,), guests=(living,)))
    assert artifact.path == "libvirt/domains/web01.xml"
    assert artifact.kind is Kind.DOMAIN
    images = (
        Image(source="p/a", format="qcow2"),
        Image(source="/b", format="qcow2"),
        Image(source="/c", format="qcow2"),
    )
    assert artifact.defines == Defines(name="web01", uuid=living.uuid, autostart=False, images=images)
    assert "<source network='default'/>" in artifact.text


@given(HOSTILE_TEXT, HOSTILE_TEXT)
def test_any_text_comes_back(content: str, attribute: str) -> None:
    """Whatever a description, a path or a filter's parameter holds, libvirt's parser reads the same."""
    reference = FilterRef(filter=attribute, parameters=(("P", (attribute, content)),))
    living = guest(
        description=f"x{content}",
        disks=(disk(file=f"/{attribute}"),),
        interfaces=(nic(filterref=reference),),
    )
    root = parsed(living)
    assert root.findtext("description") == f"x{content}"
    assert [source.get("file") for source in root.iterfind("devices/disk/source")] == [f"/{attribute}"]
    assert [one.get("value") for one in root.iterfind(".//filterref/parameter")] == [attribute, content]


@pytest.mark.parametrize(
    ("portgroup", "isolated"), [(None, True), ("dmz", True), ("ops", False)], ids=["default", "named", "other"]
)
def test_isolation_of_a_portgroup(portgroup: str | None, isolated: bool) -> None:
    """libvirt's portgroups can't isolate, so each interface in one says it."""
    groups = (Portgroup(name="dmz", isolated=True, default=True), Portgroup(name="ops"))
    living = guest(interfaces=(nic(network="lan", portgroup=portgroup),))
    text = domain_xml(living, {"lan": network("lan", portgroups=groups)}, EL9)
    assert ("<port isolated='yes'/>" in text) is isolated


@given(st.lists(st.integers(0, 60), unique=True, max_size=12))
def test_every_scsi_disk_has_its_controller(numbers: list[int]) -> None:
    """libvirt counts seven disks a controller by the target's name and would make up the missing ones' model."""
    disks = tuple(disk(f"sd{_letters(number)}", "scsi", file=f"/{number}") for number in numbers)
    controllers = parsed(guest(disks=disks)).findall("devices/controller[@type='scsi']")
    indexes = [int(controller.get("index", "")) for controller in controllers]
    assert indexes == list(range(max((number // 7 for number in numbers), default=-1) + 1))
    assert {controller.get("model") for controller in controllers} <= {"virtio-scsi"}


@pytest.mark.parametrize(("platform", "written"), [("el6", True), ("el7", False)])
def test_agent_socket(platform: str, written: bool) -> None:
    """Only a libvirt before 1.0.6 must be told the path."""
    root = parsed(guest(guest_agent=True), Platform.parse(platform))
    assert (root.find("devices/channel/source") is not None) is written


def _letters(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return letters
