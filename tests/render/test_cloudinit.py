"""Seeds without cloud-init: where their facts come from, when they become another instance, and their bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kvmgen.artifact import Artifact, Kind
from kvmgen.inventory.antispoof import link_local
from kvmgen.model.site import views
from kvmgen.model.values import Mac
from kvmgen.pipeline import build, load
from kvmgen.render import render
from kvmgen.render._cloud_config import as_yaml
from kvmgen.render._iso import image
from tests.sites import ROOT, write

SITE = {
    "site.yaml": "name: test\ndomain: example.org\n",
    "hosts/kvm1.yaml": "platform: el8.6\nethernets: {em1: {}}\nbridges: {br0: {ports: [em1], segment: lan}}\n",
    "hosts/kvm2.yaml": "platform: el8.6\nethernets: {em1: {}}\nbridges: {br0: {ports: [em1], segment: lan}}\n",
    "networks/lab.yaml": "hosts: {kvm1: {}, kvm2: {}}\nforward: nat\nbridge: {name: virbr7}\n"
    "addresses: [192.0.2.1/24, '2001:db8::1/64']\ndhcp: {ranges: [192.0.2.100-192.0.2.200]}\n",
}
GUEST = """\
hosts: [kvm1, kvm2]
dns: {servers: [192.0.2.53, "2001:db8::53"], search: [example.org]}
interfaces:
  eth0:
    network: lab
    mtu: 1400
    addresses: [192.0.2.10/24, "2001:db8::10/64"]
    routes: [{to: default, via: 192.0.2.1}, {to: default, via: "fe80::1"}, {to: 10.0.0.0/8, via: 192.0.2.9}]
  eth1: {bridge: br0, dhcp4: true}
cloud-init:
  user-data: {packages: [nginx]}
"""


def rendered(folder: Path, guest: str = GUEST, host: str = "kvm1") -> dict[str, Artifact]:
    """One host's files, with this guest on it."""
    result = load(write(folder, {**SITE, "guests/web01.yaml": guest}))
    assert result.site is not None, result.diagnostics
    assert result.is_good, result.diagnostics
    (view,) = (view for view in views(result.site) if view.host.name == host)
    return {file.path: file for file in render(view)}


def seed_of(folder: Path, guest: str = GUEST) -> dict[str, Any]:
    """The seed's files, read as YAML 1.1."""
    files = rendered(folder, guest)
    names = ("meta-data", "network-config", "user-data")
    return {name: yaml.safe_load(files[f"guests/web01/seed/{name}"].text) for name in names}


def test_a_guests_addresses_are_the_same_everywhere(tmp_path: Path) -> None:
    """In the seed, the filter's parameters, the DHCP leases and the names on the network."""
    files, seed = rendered(tmp_path), seed_of(tmp_path)
    eth0 = seed["network-config"]["ethernets"]["eth0"]
    said = [address.partition("/")[0] for address in eth0["addresses"]]
    mac = eth0["match"]["macaddress"]
    domain, network = (fromstring(files[f"libvirt/{name}.xml"].text) for name in ("domains/web01", "networks/lab"))
    nic = domain.find(f"devices/interface/mac[@address='{mac}']/..")
    assert nic is not None
    parameters = [(one.get("name"), one.get("value")) for one in nic.findall("filterref/parameter")]
    assert [value for name, value in parameters if name == "IP"] == said[:1]
    assert [value for name, value in parameters if name == "IPV6"] == [str(link_local(Mac(mac))), *said[1:]]
    leases = network.findall("ip/dhcp/host")
    assert [(lease.get("mac"), lease.get("ip")) for lease in leases if lease.get("mac")] == [(mac, said[0])]
    names = {one.get("ip"): [name.text for name in one] for one in network.findall("dns/host")}
    assert set(names) <= set(said)
    assert names
    assert all("web01" in known for known in names.values())
    assert seed["meta-data"]["local-hostname"] == seed["user-data"]["fqdn"] == "web01.example.org"


def test_the_network_is_what_every_renderer_takes(tmp_path: Path) -> None:
    nics = seed_of(tmp_path)["network-config"]["ethernets"]
    assert nics["eth0"] == {
        "match": {"macaddress": nics["eth0"]["match"]["macaddress"]},
        "set-name": "eth0",
        "mtu": 1400,
        "accept-ra": False,
        "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
        "gateway4": "192.0.2.1",
        "gateway6": "fe80::1",
        "routes": [{"to": "10.0.0.0/8", "via": "192.0.2.9"}],
        "nameservers": {"addresses": ["192.0.2.53", "2001:db8::53"], "search": ["example.org"]},
    }
    assert nics["eth1"] == {
        "match": {"macaddress": nics["eth1"]["match"]["macaddress"]},
        "set-name": "eth1",
        "dhcp4": True,
        "accept-ra": False,
    }
    text = rendered(tmp_path)["guests/web01/seed/network-config"].text
    assert all(f'{{"macaddress": "{nic["match"]["macaddress"]}"}}' in text for nic in nics.values()), "in quotes"


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (("nginx", "httpd"), False),
        (("packages", "manage_etc_hosts: true, packages"), False),
        (("hosts: [kvm1, kvm2]", "hosts: [kvm2, kvm1]\nvcpus: 4"), False),
        (("cloud-init:", "cloud-init:\n  instance: 2"), True),
        (("192.0.2.10/24", "192.0.2.11/24"), True),
        (("192.0.2.53", "192.0.2.54"), True),
        (("mtu: 1400", "mtu: 1300"), True),
    ],
)
def test_another_instance_only_where_it_must_be(change: tuple[str, str], is_another: bool, tmp_path: Path) -> None:
    """What cloud-init takes for a new instance alone, and the guest can't be without, or what a person asks for."""
    ids = []
    for number, text in enumerate((GUEST, GUEST.replace(*change))):
        assert number == 0 or text != GUEST
        found = [rendered(tmp_path / f"{number}", text, host) for host in ("kvm1", "kvm2")]
        (meta,) = (files[path].text for files in found for path in files if path.endswith("meta-data"))
        ids.append(yaml.safe_load(meta)["instance-id"])
    assert (ids[0] != ids[1]) is is_another


def test_the_image_lies_wherever_the_guest_can_run(tmp_path: Path) -> None:
    path = "var/lib/libvirt/images/kvmgen-web01-seed.iso"
    home, other = (rendered(tmp_path, host=host) for host in ("kvm1", "kvm2"))
    assert home[path].content == other[path].content
    assert (home[path].kind, home[path].mode) == (Kind.SEED, 0o600)
    assert [file for file in other if file.startswith("guests/")] == []
    kinds = [file.kind for file in home.values()]
    assert kinds.index(Kind.SEED) < kinds.index(Kind.DOMAIN)
    domain = home["libvirt/domains/web01.xml"]
    assert f"<source file='/{path}'/>" in domain.text
    assert domain.defines is not None
    assert domain.defines.images == (), "nobody else is to make it"


def test_only_the_seed_tells_of_the_inside(tmp_path: Path) -> None:
    files = rendered(tmp_path, GUEST + "platform: el8\n")
    assert {path for path in files if path.startswith("guests/")} == {
        f"guests/web01/seed/{name}" for name in ("meta-data", "network-config", "user-data")
    }


ANYWHERE = """
import sys, time
moment = float(sys.argv[1])
time.time = lambda: moment
from hashlib import sha256
from kvmgen.render._iso import image
print(sha256(image("# mark\\n", {"meta-data": "a: 1\\n", "network-config": "é" * 5000, "user-data": ""})).hexdigest())
"""


def test_an_image_is_the_same_at_any_time_and_place() -> None:
    wanted = sha256(
        image("# mark\n", {"meta-data": "a: 1\n", "network-config": "é" * 5000, "user-data": ""})
    ).hexdigest()
    for moment, zone, seed in (("0", "UTC", "0"), ("2000000000.5", "Asia/Kolkata", "7"), ("1e9", "America/Adak", "9")):
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "generator")}
        done = subprocess.run(
            (sys.executable, "-c", ANYWHERE, moment), env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == wanted


@pytest.mark.parametrize("manifest", [True, False], ids=["as-built", "manifest-lost"])
def test_an_image_in_the_output_is_kvmgens(manifest: bool, tmp_path: Path) -> None:
    """It is left alone where it is right, put right where it isn't, and removed with its guest."""
    inventory = write(tmp_path / "inventory", {**SITE, "guests/web01.yaml": GUEST})
    output = tmp_path / "output"
    assert build(inventory, output).is_good
    assert build(inventory, output, write=False).plan.is_empty
    file = output / "kvm1/var/lib/libvirt/images/kvmgen-web01-seed.iso"
    right = file.read_bytes()
    file.write_bytes(right[:-1] + b"x")
    if not manifest:
        (output / "kvm1/manifest.json").unlink()
    result = build(inventory, output)
    assert result.is_good, result.diagnostics
    assert file.read_bytes() == right
    (inventory / "guests/web01.yaml").unlink()
    assert build(inventory, output).is_good
    assert not (output / "kvm1/var").exists()


SCALARS = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(st.characters(codec="utf-8"))
WORDS = st.sampled_from(["yes", "no", "on", "0644", "12:30", "1e5", "~", "=", "<<", "52:54:00:12:34:56", "a\n b\n"])
VALUES = st.recursive(
    SCALARS | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(WORDS | st.text(st.characters(codec="utf-8"), max_size=8), VALUES, max_size=3))
def test_user_data_means_in_yaml_1_1_what_it_means_in_the_inventory(data: dict[str, Any]) -> None:
    assert yaml.safe_load(as_yaml(data)) == data


def test_scripts_are_lines_and_nothing_hides() -> None:
    assert as_yaml({"runcmd": "a\nb\n"}) == "runcmd: |\n  a\n  b\n"
    assert as_yaml({"motd": "Grüße, 你好"}) == "motd: Grüße, 你好\n"
    assert "\u202e" not in as_yaml({"motd": "a\u202eb"})
