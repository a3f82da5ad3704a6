"""Guests on devices of their host: networks by macvtap run on a real NIC's end, and libvirt refuses what the rules say.

No machine here has virtual functions, and none runs Open vSwitch or libvirt 11: what needs those is held by libvirt's
own schemas, and as far as libvirtd defines it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from xml.etree.ElementTree import fromstring

import pytest

from kvmgen.artifact import Artifact, Kind
from kvmgen.model.site import views
from kvmgen.pipeline import load
from kvmgen.render import render
from tests.lab.domain import START_TIMEOUT, as_testable
from tests.lab.host import LabHost
from tests.real.compare import differences
from tests.real.test_site_libvirt import with_alias
from tests.sites import SITE, write

pytestmark = pytest.mark.real

MODES = {"bridge": "eno1", "private": "eno1", "vepa": "eno1", "passthrough": "eno2"}
FILES = {
    "site.yaml": SITE,
    "hosts/kvm01.yaml": "platform: el10.1\nethernets: {eno1: {}, eno2: {}, eno3: {}, eno4: {}}\n"
    "bridges:\n  ovs0: {openvswitch: true, ports: [eno3], stp: true, addresses: [192.0.2.11/24]}\n"
    "  br0: {ports: [eno4], vlans: [10, 20]}\n",
    **{
        f"networks/{mode}.yaml": f"hosts: {{kvm01: {{}}}}\nforward: {mode}\ndevices: [{device}]\n"
        "portgroups: {plain: {}}\n"
        for mode, device in MODES.items()
    },
    "networks/switch.yaml": "hosts: {kvm01: {}}\nforward: bridge\nbridge: {name: ovs0}\n"
    "vlan: {tags: [10, 20], native: 10}\nportgroups: {one: {vlan: 30}, alone: {vlan: {tags: [40], trunk: true}}}\n",
    "networks/card.yaml": "hosts: {kvm01: {}}\nforward: hostdev\npf: eno3\nvlan: 10\n",
    "networks/functions.yaml": "hosts: {kvm01: {}}\nforward: hostdev\nmanaged: false\n"
    'pci-addresses: ["0000:07:10.0", "0001:81:1f.7"]\n',
    "networks/tagged.yaml": "hosts: {kvm01: {}}\nforward: bridge\nbridge: {name: br0}\nportgroups: {one: {vlan: 10}}\n",
    **{
        f"guests/on-{mode}.yaml": "hosts: [kvm01]\nmemory: 64 MiB\n"
        f"interfaces: {{eth0: {{network: {mode}, portgroup: plain, anti-spoofing: none}}}}\n"
        for mode in MODES
    },
    "guests/switched.yaml": "hosts: [kvm01]\nmemory: 64 MiB\ninterfaces:\n"
    "  eth0: {bridge: ovs0, anti-spoofing: none, vlan: {tags: [10, 20], native: 20}}\n"
    "  eth1: {network: switch, portgroup: one, anti-spoofing: none}\n",
    "guests/tagged.yaml": "hosts: [kvm01]\nmemory: 64 MiB\ninterfaces: {eth0: {bridge: br0, vlan: 10}}\n",
}
NOT_HERE = frozenset(("functions", "tagged"))
"""What Debian's libvirt refuses for want of functions, and of a newer libvirt."""

REFUSED: Mapping[str, str] = {
    "<filterref filter='clean-traffic'/>": "filterref is not supported for network interfaces of type direct",
    "<port isolated='yes'/>": "<port isolated='yes'/> is not supported for network interfaces with type='direct'",
    "<vlan><tag id='10'/></vlan>": "vlan tag not supported for this connection type",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """The files of the site above."""
    result = load(write(tmp_path_factory.mktemp("devices"), FILES))
    assert result.is_good, result.diagnostics
    assert result.site is not None
    return [artifact for view in views(result.site) for artifact in render(view)]


@pytest.fixture(scope="module")
def lab(made: list[Artifact]) -> Iterator[LabHost]:
    """A host with NICs on which all networks are that libvirt can define here."""
    with LabHost() as host:
        host.start_libvirtd()
        for nic in ("eno1", "eno2"):
            host.ip_batch(
                [f"link add {nic} type veth peer name {nic}-far", f"link set {nic} up", f"link set {nic}-far up"]
            )
        for name, text in of_kind(made, Kind.NETWORK).items():
            if name not in NOT_HERE:
                host.virsh_with("net-define", text, "--validate")
        yield host


def of_kind(made: list[Artifact], kind: Kind) -> dict[str, str]:
    """The definitions of a kind by their names."""
    return {artifact.defines.name: artifact.text for artifact in made if artifact.kind is kind and artifact.defines}


@pytest.mark.parametrize("name", ["bridge", "private", "vepa", "passthrough", "switch", "card"])
def test_libvirt_holds_what_was_meant(lab: LabHost, made: list[Artifact], name: str) -> None:
    meant, held = of_kind(made, Kind.NETWORK)[name], lab.virsh("net-dumpxml", "--inactive", name).stdout
    assert differences(meant, held) == differences(held, meant) == []


@pytest.mark.parametrize("mode", MODES)
def test_a_guest_gets_its_macvtap(lab: LabHost, made: list[Artifact], mode: str) -> None:
    """On the device, in the mode, under its own MAC, all as the kernel says."""
    lab.virsh("net-start", mode)
    lab.virsh_with("define", as_testable(of_kind(made, Kind.DOMAIN)[f"on-{mode}"]), "--validate")
    lab.virsh("start", f"on-{mode}", "--paused", timeout=START_TIMEOUT)
    interface = fromstring(lab.virsh("dumpxml", f"on-{mode}").stdout).find("devices/interface")
    assert interface is not None
    tap, mac = (interface.find(tag) for tag in ("target", "mac"))
    assert tap is not None
    assert mac is not None
    said = lab.run("ip", "-details", "-oneline", "link", "show", "dev", tap.get("dev", "")).stdout
    kernels = {"passthrough": "passthru"}.get(mode, mode)
    assert f"@{MODES[mode]}:" in said
    assert f"macvtap mode {kernels}" in said
    assert mac.get("address", "-") in said
    assert (mac.get("address", "-") in lab.run("cat", "/sys/class/net/eno2/address").stdout) is (mode == "passthrough")
    lab.virsh("destroy", f"on-{mode}")
    lab.virsh("net-destroy", mode)


@pytest.mark.parametrize("element", REFUSED)
def test_what_does_not_hold_there_is_refused_at_the_start(lab: LabHost, made: list[Artifact], element: str) -> None:
    text = as_testable(of_kind(made, Kind.DOMAIN)["on-private"])
    lab.virsh("net-start", "private")
    lab.virsh_with("define", text.replace("</interface>", element + "</interface>"), "--validate")
    started = lab.virsh("start", "on-private", "--paused", check=False, timeout=START_TIMEOUT)
    assert REFUSED[element] in started.stderr
    lab.virsh("net-destroy", "private")


def test_a_guest_on_open_vswitch_is_defined_as_meant(lab: LabHost, made: list[Artifact]) -> None:
    text = as_testable(of_kind(made, Kind.DOMAIN)["switched"])
    lab.virsh_with("define", text, "--validate")
    held = with_alias(lab.virsh("dumpxml", "--inactive", "switched").stdout)
    assert differences(text, held) == []


def test_networkmanager_reads_the_profiles(made: list[Artifact]) -> None:
    """Each as it was written; and what the parts of Open vSwitch refer to is there, each once."""
    profiles = {
        one.path.rpartition("/")[2].removesuffix(".nmconnection"): one.text for one in made if one.kind is Kind.LINK
    }
    held = {}
    for name, text in profiles.items():
        meant, held[name] = keys(text), keys(nmcli(text))
        assert {key: value for key, value in meant.items() if key in held[name]} == meant, name
    uuids = {name: profile["connection", "uuid"] for name, profile in held.items()}
    masters = {name: profile.get(("connection", "master")) for name, profile in held.items()}
    assert len(set(uuids.values())) == len(uuids)
    assert masters["ovs0"] == uuids["ovs0.ovs-port"]
    assert masters["eno3"] == uuids["eno3.ovs-port"]
    assert masters["ovs0.ovs-port"] == masters["eno3.ovs-port"] == uuids["ovs0.ovs-bridge"]
    assert held["br0"]["bridge", "vlan-filtering"] == "true"
    assert held["eno4"]["bridge-port", "vlans"] == "10,20"


def nmcli(text: str) -> str:
    """A profile as NetworkManager's library writes it back after reading it."""
    command = ["nmcli", "--offline", "connection", "modify", "connection.autoconnect-retries", "1"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def keys(text: str) -> dict[tuple[str, str], str]:
    """A key file's values by section and key."""
    parser = ConfigParser(interpolation=None, delimiters=("=",))
    parser.read_string(text)
    return {(section, key): value for section in parser.sections() for key, value in parser[section].items()}


@pytest.mark.parametrize(("kind", "schema"), [(Kind.NETWORK, "network"), (Kind.DOMAIN, "domain")])
def test_everything_is_in_libvirts_schemas(made: list[Artifact], kind: Kind, schema: str) -> None:
    for name, text in of_kind(made, kind).items():
        command = ["xmllint", "--noout", "--relaxng", f"/usr/share/libvirt/schemas/{schema}.rng", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_what_is_not_for_this_libvirt_is_refused_for_that_alone(lab: LabHost, made: list[Artifact]) -> None:
    told = {
        name: lab.virsh_with("net-define", of_kind(made, Kind.NETWORK)[name], "--validate", check=False).stderr
        for name in NOT_HERE
    }
    assert "is not an SR-IOV Virtual Function" in told["functions"]
    assert "whose type doesn't support vlan configuration" in told["tagged"]
