"""Seeds read by cloud-init itself: its data source, its schema, its network renderers, and NetworkManager behind one.

Debian's cloud-init is unpacked, not installed (`tests/lab/fetch-cloud-init`).
"""

from __future__ import annotations

import configparser
import json
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_interface
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from kvmgen.artifact import Artifact
from kvmgen.inventory.antispoof import link_local
from kvmgen.model.guest import Guest, GuestInterface
from kvmgen.model.site import views
from kvmgen.pipeline import load
from kvmgen.render import render
from kvmgen.render.cloudinit import is_default
from tests.lab.domain import as_testable
from tests.lab.host import LabHost
from tests.real.seeds import cloud_init
from tests.sites import ROOT, write

pytestmark = pytest.mark.real

SITE: Mapping[str, str] = {
    "site.yaml": "name: test\ndomain: example.org\n",
    "hosts/kvm1.yaml": "platform: el8.6\nethernets: {em1: {}}\nbridges: {br0: {ports: [em1], segment: lan}}\n",
    "networks/lab.yaml": "hosts: {kvm1: {}}\nforward: nat\nbridge: {name: virbr7}\naddresses: [192.0.2.1/24]\n",
    "guests/web01.yaml": """\
hosts: [kvm1]
dns: {servers: [192.0.2.53, "2001:db8::53"], search: [example.org, example.net]}
disks: {vda: {file: /dev/null, format: raw}}
interfaces:
  both:
    bridge: br0
    mtu: 1400
    addresses: [192.0.2.10/24, 192.0.2.11/24, "2001:db8::10/64"]
    routes: [{to: default, via: 192.0.2.1}, {to: default, via: "fe80::1"}, {to: 10.0.0.0/8, via: 192.0.2.9}]
  four: {network: lab, addresses: [192.0.2.20/24]}
  six:
    bridge: br0
    addresses: ["2001:db8:1::20/64"]
    routes: [{to: "2001:db8:9::/48", via: "2001:db8:1::9"}]
  dhcp: {bridge: br0, dhcp4: true, dhcp6: true, accept-ra: true}
  none: {bridge: br0}
cloud-init:
  user-data:
    users:
      - {name: admin, ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample admin], sudo: "ALL=(ALL) ALL"}
    write_files:
      - {path: /etc/motd, permissions: "0644", content: "yes: 12:30\\nGrüße\\n"}
    runcmd: [[touch, /run/done], echo "on"]
    timezone: UTC
""",
    "guests/old01.yaml": "hosts: [kvm1]\nchipset: pc\ncloud-init: {}\n",
    "guests/new01.yaml": "hosts: [kvm1]\nchipset: q35\ncloud-init: {}\n",
}
EXAMPLES = ROOT / "output"
NAMES = ("meta-data", "network-config", "user-data")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Guest, dict[str, Artifact]]:
    """A guest with every kind of interface, and its host's files."""
    result = load(write(tmp_path_factory.mktemp("site"), SITE))
    assert result.site is not None
    assert result.is_good, result.diagnostics
    (view,) = views(result.site)
    return result.site.guests["web01"], {file.path: file for file in render(view)}


@pytest.fixture(scope="module")
def seed(site: tuple[Guest, dict[str, Artifact]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seed's files, where the data source looks for them."""
    folder = tmp_path_factory.mktemp("cloud") / "seed/nocloud"
    return write(folder, {name: site[1][f"guests/web01/seed/{name}"].text for name in NAMES})


# -- the image ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["-R", "-J"], ids=["rock-ridge", "joliet"])
def test_the_image_holds_the_files(names: str, site: tuple[Guest, dict[str, Artifact]], tmp_path: Path) -> None:
    files = site[1]
    path = tmp_path / "seed.iso"
    path.write_bytes(files["var/lib/libvirt/images/kvmgen-web01-seed.iso"].content)
    listed = _output("isoinfo", names, "-f", "-i", path).decode().split()
    assert sorted(listed) == [f"/{name}" for name in NAMES]
    for name in NAMES:
        held = _output("isoinfo", names, "-x", f"/{name}", "-i", path)
        assert held == files[f"guests/web01/seed/{name}"].content
    told = _output("blkid", "--probe", "--output", "export", path).decode().splitlines()
    assert {"LABEL=cidata", "TYPE=iso9660"} <= set(told), "how cloud-init finds it"


def _output(*words: str | Path) -> bytes:
    return subprocess.run(words, capture_output=True, check=True, timeout=30).stdout


@pytest.mark.parametrize(("guest", "target"), [("old01", "hdd"), ("new01", "sdf")])
def test_qemu_has_the_image_in_its_drive(
    guest: str, target: str, site: tuple[Guest, dict[str, Artifact]], lab_libvirt: LabHost
) -> None:
    image = f"/run/lab/{guest}.iso"
    lab_libvirt.file(image).write_bytes(site[1][f"var/lib/libvirt/images/kvmgen-{guest}-seed.iso"].content)
    text = site[1][f"libvirt/domains/{guest}.xml"].text
    drive = text[text.index("<disk") : text.index("</disk>") + len("</disk>")]
    drive = drive.replace(f"/var/lib/libvirt/images/kvmgen-{guest}-seed.iso", image)
    lab_libvirt.virsh_with("define", as_testable(text).replace("<controller", drive + "<controller", 1), "--validate")
    lab_libvirt.virsh("start", guest, "--paused", timeout=30)
    listed = lab_libvirt.virsh("domblklist", guest, "--details").stdout.split()
    assert listed == ["file", "cdrom", target, image]
    lab_libvirt.virsh("destroy", guest)


# -- cloud-init --------------------------------------------------------------------------------------------------------

READ = """
import json, sys
from cloudinit import dmi, helpers
from cloudinit.sources.DataSourceNoCloud import DataSourceNoCloud
dmi.read_dmi_data = lambda key: None
known = {"datasource": {"NoCloud": {"fs_label": None}}}
source = DataSourceNoCloud(known, None, helpers.Paths({"cloud_dir": sys.argv[1]}))
assert source.get_data()
said = source.get_instance_id(), source.get_hostname(fqdn=True)[0], source.network_config, source.get_userdata_raw()
print(json.dumps([part.decode() if isinstance(part, bytes) else part for part in said]))
"""


def test_the_data_source_reads_the_seed(seed: Path) -> None:
    instance, hostname, network, user_data = json.loads(cloud_init("-c", READ, seed.parents[1]))
    assert instance == yaml.safe_load((seed / "meta-data").read_text())["instance-id"]
    assert hostname == "web01.example.org"
    assert network == yaml.safe_load((seed / "network-config").read_text())
    assert user_data == (seed / "user-data").read_text()


def test_the_user_data_is_cloud_config(seed: Path) -> None:
    """And so is that of every guest of the example site."""
    examples = sorted(EXAMPLES.glob("*/guests/*/seed"))
    assert examples
    for folder in (seed, *examples):
        told = cloud_init("-m", "cloudinit.cmd.main", "schema", "--config-file", folder / "user-data")
        assert "Valid cloud-config" in told


def converted(seed: Path, folder: Path, kind: str, distribution: str) -> dict[str, str]:
    """The files that one of cloud-init's network renderers makes of the seed."""
    words = ("devel", "net-convert", "-p", seed / "network-config", "-k", "yaml", "-d", folder)
    cloud_init("-m", "cloudinit.cmd.main", *words, "-D", distribution, "-O", kind)
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def wanted(nic: GuestInterface, version: int) -> list[str]:
    """The static addresses of an IP version."""
    return [str(address) for address in nic.addressing.addresses if address.version == version]


def gateway(nic: GuestInterface, version: int) -> str | None:
    """The default gateway of an IP version."""
    found = (route.via for route in nic.addressing.routes if is_default(route) and route.version == version)
    return next(map(str, found), None)


def test_sysconfig_has_the_guests_network(seed: Path, site: tuple[Guest, dict[str, Artifact]], tmp_path: Path) -> None:
    """What el7 and el8 images make of it."""
    files = converted(seed, tmp_path, "sysconfig", "centos")
    for nic in site[0].interfaces:
        lines = shlex.split(files[f"ifcfg-{nic.name}"], comments=True)
        keys = dict(line.split("=", 1) for line in lines)
        assert keys["HWADDR"] == nic.mac
        assert keys["DEVICE"] == nic.name
        assert keys["BOOTPROTO"] == ("dhcp" if nic.addressing.dhcp4 else "none")
        assert keys.get("DHCPV6C") == ("yes" if nic.addressing.dhcp6 else None)
        assert keys["IPV6_FORCE_ACCEPT_RA"] == ("yes" if nic.addressing.accept_ra else "no")
        assert keys.get("MTU") == (None if nic.mtu is None else str(nic.mtu))
        numbers = [key.removeprefix("IPADDR") for key in keys if key.startswith("IPADDR")]
        found = [ip_interface(f"{keys[f'IPADDR{number}']}/{keys[f'NETMASK{number}']}") for number in numbers]
        assert [str(address) for address in found] == wanted(nic, 4)
        assert keys.get("IPV6ADDR", "").split() + keys.get("IPV6ADDR_SECONDARIES", "").split() == wanted(nic, 6)
        assert (keys.get("GATEWAY"), keys.get("IPV6_DEFAULTGW")) == (gateway(nic, 4), gateway(nic, 6))
    assert shlex.split(files["route-both"], comments=True) == [
        "ADDRESS0=10.0.0.0",
        "GATEWAY0=192.0.2.9",
        "NETMASK0=255.0.0.0",
    ]
    assert "2001:db8:9::/48 via 2001:db8:1::9" in files["route6-six"]
    resolver = [line.split() for line in files["resolv.conf"].splitlines() if not line.startswith(";")]
    servers = [["nameserver", "192.0.2.53"], ["nameserver", "2001:db8::53"]]
    assert resolver == [*servers, ["search", "example.org", "example.net"]]


def test_networkmanager_profiles_have_the_guests_network(
    seed: Path, site: tuple[Guest, dict[str, Artifact]], tmp_path: Path
) -> None:
    """What el9 and el10 images make of it."""
    files = converted(seed, tmp_path, "network-manager", "centos")
    for nic in site[0].interfaces:
        profile = configparser.ConfigParser()
        profile.read_string(files[f"cloud-init-{nic.name}.nmconnection"])
        assert profile["ethernet"]["mac-address"].lower() == nic.mac
        assert profile["ethernet"].get("mtu") == (None if nic.mtu is None else str(nic.mtu))
        for version, dhcp in ((4, nic.addressing.dhcp4), (6, nic.addressing.dhcp6)):
            part: Mapping[str, str] = profile[f"ipv{version}"] if profile.has_section(f"ipv{version}") else {}
            assert [value for key, value in part.items() if key.startswith("address")] == wanted(nic, version)
            assert part.get("gateway") == gateway(nic, version)
            method = "auto" if dhcp else "manual" if wanted(nic, version) else None
            assert part.get("method") == method
            assert part.get("addr-gen-mode", "eui64") == "eui64", "the one that the anti-spoofing filter knows"
        dns = [profile.get(f"ipv{version}", "dns", fallback=None) for version in (4, 6)]
        assert dns == (["192.0.2.53;", "2001:db8::53;"] if nic.name == "both" else [None, None])
    assert "route1=10.0.0.0/8,192.0.2.9\n" in files["cloud-init-both.nmconnection"]
    assert "route1=2001:db8:9::/48,2001:db8:1::9\n" in files["cloud-init-six.nmconnection"]


def test_netplan_has_the_seed_as_it_is(seed: Path, tmp_path: Path) -> None:
    files = converted(seed, tmp_path, "netplan", "ubuntu")
    network = yaml.safe_load(files["50-cloud-init.yaml"])["network"]
    assert network == yaml.safe_load((seed / "network-config").read_text())


def test_ifupdown_has_the_guests_network(seed: Path, site: tuple[Guest, dict[str, Artifact]], tmp_path: Path) -> None:
    """What Debian images make of it."""
    text = converted(seed, tmp_path, "eni", "debian")["50-cloud-init"]
    stanzas = [stanza.split() for stanza in text.split("\niface ")]
    for nic in site[0].interfaces:
        own = [stanza for stanza in stanzas if stanza[0].partition(":")[0] == nic.name]
        said = [pair for stanza in own for pair in pairwise(stanza)]
        found = [word for key, word in said if key == "address"]
        assert found == [str(address) for address in nic.addressing.addresses]
        gateways = [word for key, word in said if key == "gateway"]
        assert gateways == [via for via in (gateway(nic, 4), gateway(nic, 6)) if via]


@pytest.fixture
def networked() -> Iterator[LabHost]:
    with LabHost(sys_read_only=True) as host:
        yield host


def test_networkmanager_gives_the_link_local_address_that_the_filter_knows(
    networked: LabHost, seed: Path, site: tuple[Guest, dict[str, Artifact]], tmp_path: Path
) -> None:
    """And the others; any other link-local address would never leave the guest."""
    nics = {nic.name: nic for nic in site[0].interfaces if nic.name in ("both", "six")}
    for name, text in converted(seed, tmp_path, "network-manager", "centos").items():
        if name.removeprefix("cloud-init-").removesuffix(".nmconnection") in nics:
            networked.write(f"/etc/NetworkManager/system-connections/{name}", text, 0o600)
    for nic in nics.values():
        networked.run(
            "ip", "link", "add", nic.name, "address", nic.mac, "type", "veth", "peer", "name", f"{nic.name}-sw"
        )
        networked.run("ip", "link", "set", f"{nic.name}-sw", "up")
    networked.start_networkmanager()
    for nic in nics.values():
        expected = {str(address) for address in nic.addressing.addresses} | {f"{link_local(nic.mac)}/64"}
        assert _settled(networked, nic.name, expected) == expected, networked.log("NetworkManager")


def _settled(host: LabHost, link: str, expected: set[str]) -> set[str]:
    """A link's addresses, once they are as expected or time is up."""
    for _ in range(100):
        (told,) = json.loads(host.run("ip", "-json", "address", "show", "dev", link).stdout)
        found = {f"{one['local']}/{one['prefixlen']}" for one in told["addr_info"]}
        if found == expected:
            break
        time.sleep(0.1)
    return found
