"""The compiled example site on a real libvirtd: each host's objects defined, started, read back and applied again.

A host's NICs are not there; its bridges are plain ones. A domain is made startable here by `as_testable` alone.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from xml.etree.ElementTree import Element, fromstring

import pytest

from kvmgen.artifact import Kind
from tests.lab.domain import START_TIMEOUT, as_testable
from tests.lab.host import LabHost
from tests.real.compare import differences
from tests.real.instances import Rules, expected_rules, installed_rules, learning_rules, needs, parameters
from tests.real.site import HOSTS, CompiledSite, SiteFile, SiteHost

pytestmark = pytest.mark.real

BEYOND_LIBVIRTS_SCHEMA: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "kvmgen-arp-segments": ("arp", "arpsrcipmask"),
    }
)
"""Filters that libvirt's RELAX NG schema refuses for one attribute of one protocol.

libvirt's format page has both and its parser reads both; only the schema forgot them, to this day. That libvirt keeps
and obeys them is shown by the same tests as for all others, and once more by name.
"""

OF_A_RUNNING_GUEST = (
    # The balloon is the guest's to blow up, and these guests' processors never run.
    r"/domain/currentMemory is '\d+', not '\d+'",
    # A network of the mode bridge hands out its bridge; the network's name stands beside it still.
    r"/domain/devices/interface\[[\w:]+\]/@type is 'bridge', not 'network'",
    # The port that was chosen where the definition lets libvirt choose.
    r"/domain/devices/graphics\[vnc\]/@port is '59\d\d', not '-1'",
)
"""Where a running domain says what is the case instead of what was asked for; the inactive one has what was asked for.
"""

SCHEMAS = {Kind.NETWORK: "network", Kind.NWFILTER: "nwfilter", Kind.DOMAIN: "domain"}
DUMPS = {Kind.NETWORK: "net-dumpxml", Kind.NWFILTER: "nwfilter-dumpxml", Kind.DOMAIN: "dumpxml"}
DEFINE = {Kind.NETWORK: "net-define", Kind.NWFILTER: "nwfilter-define", Kind.DOMAIN: "define"}
SAVES = {"ebtables": "ebtables-save", "iptables": "iptables-save", "ip6tables": "ip6tables-save"}
STARTS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Tap:
    """A guest's interface as it runs; `filter_name` is empty where it has no filter."""

    name: str
    mac: str
    filter_name: str
    variables: dict[str, tuple[str, ...]]


@dataclass(slots=True)
class Carrier:
    """A host of the site that runs: its libvirtd holds all that the manifest has, and all of it is started."""

    lab: LabHost
    host: SiteHost
    filters: dict[str, Element] = field(default_factory=dict)

    def define_all(self) -> None:
        """Define everything in the manifest's order, under validation."""
        for kind in DEFINE:
            for file in self.host.of_kind(kind):
                self.define(file)

    def define(self, file: SiteFile) -> None:
        validate = ("--validate",) if file.validate else ()
        self.lab.virsh_with(DEFINE[file.kind], meant(file), *validate)

    def start_all(self) -> None:
        """Start networks, then domains, two at a time: most of a domain's start is waiting for QEMU."""
        for file in self.host.of_kind(Kind.NETWORK):
            self.lab.virsh("net-start", file.name)
        with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
            list(pool.map(self._start_paused, self.host.of_kind(Kind.DOMAIN)))

    def _start_paused(self, file: SiteFile) -> None:
        self.lab.virsh("start", file.name, "--paused", timeout=START_TIMEOUT)

    def dumped(self, file: SiteFile, *arguments: str) -> str:
        return self.lab.virsh(DUMPS[file.kind], file.name, *arguments).stdout

    def dumps(self) -> dict[tuple[str, str], str]:
        """Everything that libvirt holds: live and, where there are two, inactive."""
        found = {}
        for kind in DUMPS:
            for file in self.host.of_kind(kind):
                for which in ((),) if kind is Kind.NWFILTER else ((), ("--inactive",)):
                    found[file.path, " ".join(which)] = self.dumped(file, *which)
        return found

    def saved(self) -> dict[str, str]:
        """What the packet filters hold, without the lines that tell the time."""
        texts = {program: self.lab.run(save).stdout for program, save in SAVES.items()}
        return {program: re.sub(r"^#.*\n", "", text, flags=re.MULTILINE) for program, text in texts.items()}

    def filter(self, name: str) -> Element:
        """A filter's definition: the compiled one, or libvirt's own where the site has none of this name."""
        if name not in self.filters:
            files = {file.name: file for file in self.host.of_kind(Kind.NWFILTER)}
            text = files[name].text if name in files else self.lab.virsh("nwfilter-dumpxml", name).stdout
            self.filters[name] = fromstring(text)
        return self.filters[name]

    def taps(self) -> Iterator[Tap]:
        """Every guest interface that runs."""
        for file in self.host.of_kind(Kind.DOMAIN):
            for interface in fromstring(self.dumped(file)).iterfind("devices/interface"):
                target, mac, reference = (interface.find(tag) for tag in ("target", "mac", "filterref"))
                assert target is not None
                assert mac is not None
                address = mac.get("address", "")
                known = {} if reference is None else parameters(reference)
                name = "" if reference is None else reference.get("filter", "")
                yield Tap(target.get("dev", ""), address, name, {"MAC": (address,), **known})


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest, compiled_site: CompiledSite) -> SiteHost:
    return compiled_site.hosts[request.param]


@pytest.fixture(scope="module")
def carrier(host: SiteHost) -> Iterator[Carrier]:
    """The host with everything defined and started."""
    with LabHost(host.view.host.name) as lab:
        lab.start_libvirtd()
        for bridge in host.view.host.bridges:
            lab.add_bridge(bridge.name)
        running = Carrier(lab, host)
        running.define_all()
        running.start_all()
        yield running


def meant(file: SiteFile) -> str:
    return as_testable(file.text) if file.kind is Kind.DOMAIN else file.text


def with_alias(dumped: str) -> str:
    """The dump of a domain that names its machine as `as_testable` does: libvirt turns the alias into a version."""
    return re.sub(r"machine='pc-(?:i440fx|(q35))-[^']*'", lambda found: f"machine='{found[1] or 'pc'}'", dumped)


# -- before anything is defined ----------------------------------------------------------------------------------------


def test_libvirts_schemas_accept_every_file(host: SiteHost, tmp_path: Path) -> None:
    for kind, schema in SCHEMAS.items():
        for file in host.of_kind(kind):
            if file.name not in BEYOND_LIBVIRTS_SCHEMA:
                assert schema_says(file.text, schema, tmp_path) == "", file.path


def test_the_exceptions_are_exact(host: SiteHost, tmp_path: Path) -> None:
    """Such a filter is refused for its one attribute, and accepted without it."""
    for file in host.of_kind(Kind.NWFILTER):
        assert file.validate is (file.name not in BEYOND_LIBVIRTS_SCHEMA), "the manifest says so"
        if file.name in BEYOND_LIBVIRTS_SCHEMA:
            protocol, attribute = BEYOND_LIBVIRTS_SCHEMA[file.name]
            assert f"extra content: {protocol}" in schema_says(file.text, "nwfilter", tmp_path)
            without, count = re.subn(rf"(<{protocol}\b[^>]*?) {attribute}='[^']*'", r"\1", file.text)
            assert count > 0
            assert schema_says(without, "nwfilter", tmp_path) == ""


def schema_says(text: str, schema: str, folder: Path) -> str:
    """What virt-xml-validate complains of. kvmgen's own filters are the same on every host: each is asked once."""
    file = folder / "definition.xml"
    file.write_text(text)
    return _schema_says(text, schema, file)


@cache
def _schema_says(_text: str, schema: str, file: Path) -> str:
    command = ["virt-xml-validate", str(file), schema]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return "" if done.returncode == 0 else done.stdout + done.stderr


# -- defined and started -----------------------------------------------------------------------------------------------


def test_networks_run_and_nothing_of_them_is_lost(carrier: Carrier) -> None:
    for file in carrier.host.of_kind(Kind.NETWORK):
        for which in ((), ("--inactive",)):
            assert differences(meant(file), carrier.dumped(file, *which)) == [], file.path
        if file.autostart:
            carrier.lab.virsh("net-autostart", file.name)
        facts = _facts(carrier.lab.virsh("net-info", file.name).stdout)
        state = {key: facts[key] for key in ("UUID", "Active", "Persistent", "Autostart")}
        autostart = "yes" if file.autostart else "no"
        assert state == {"UUID": file.uuid, "Active": "yes", "Persistent": "yes", "Autostart": autostart}


def test_nothing_of_a_filter_is_lost(carrier: Carrier) -> None:
    """libvirt writes rules back in their order and with the attributes that they came with: no allowance is made."""
    for file in carrier.host.of_kind(Kind.NWFILTER):
        dumped = carrier.dumped(file)
        assert differences(file.text, dumped) == [], file.path
        assert differences(dumped, file.text) == [], f"{file.path}: libvirt added something"


def test_domains_run_and_nothing_of_them_is_lost(carrier: Carrier) -> None:
    for file in carrier.host.of_kind(Kind.DOMAIN):
        assert differences(meant(file), with_alias(carrier.dumped(file, "--inactive"))) == [], file.path
        running = differences(meant(file), with_alias(carrier.dumped(file)))
        assert [line for line in running if not re.fullmatch("|".join(OF_A_RUNNING_GUEST), line)] == [], file.path
        assert carrier.lab.virsh("domuuid", file.name).stdout.strip() == file.uuid
        assert carrier.lab.virsh("domstate", file.name).stdout.strip() == "paused"


def test_every_tap_is_on_its_bridge(carrier: Carrier) -> None:
    """The name that a guest's interface gives leads to the bridge that the inventory meant."""
    bridges = {network.libvirt_name: network.bridge for network in carrier.host.view.networks}
    for file in carrier.host.of_kind(Kind.DOMAIN):
        for interface in fromstring(carrier.dumped(file)).iterfind("devices/interface"):
            source, target = interface.find("source"), interface.find("target")
            assert source is not None
            assert target is not None
            wanted = bridges.get(source.get("network", ""), source.get("bridge"))
            path = f"/sys/class/net/{target.get('dev')}/brport/bridge"
            assert carrier.lab.run("readlink", path).stdout.strip().rpartition("/")[2] == wanted


# -- in force ----------------------------------------------------------------------------------------------------------


def test_filters_are_in_force_on_every_tap(carrier: Carrier) -> None:
    """Each tap's chains hold as many rules as its filters have, for its own addresses and MAC."""
    saved = carrier.saved()
    for tap in carrier.taps():
        wanted = _wanted(carrier, tap)
        assert installed_rules(saved, tap.name) == wanted, tap
        chains = {chain for _, chain, _ in wanted}
        for hook, way, option in (("PREROUTING", "I", "-i"), ("POSTROUTING", "O", "-o")):
            called = f"-A {hook} {option} {tap.name} -j libvirt-{way}-{tap.name}\n" in saved["ebtables"]
            assert called == (f"libvirt-{way}-{tap.name}" in chains)
        if tap.filter_name:
            own = [line for line in saved["ebtables"].splitlines() if f"-{tap.name}" in line]
            assert any(f" {tap.mac} " in line for line in own), tap


def test_rules_of_the_transport_layer_are_called(carrier: Carrier) -> None:
    """Chains that nothing calls would be there and count as well."""
    saved = carrier.saved()
    for tap in carrier.taps():
        for program in {program for program, _, _ in _wanted(carrier, tap)} - {"ebtables"}:
            lines = saved[program].splitlines()
            assert f"-A libvirt-in -m physdev --physdev-in {tap.name} -g FI-{tap.name}" in lines
            assert f"-A libvirt-out -m physdev --physdev-out {tap.name} --physdev-is-bridged -g FO-{tap.name}" in lines
            assert f"-A libvirt-host-in -m physdev --physdev-in {tap.name} -g HI-{tap.name}" in lines
            assert "-A FORWARD -j libvirt-in" in lines


def _wanted(carrier: Carrier, tap: Tap) -> Rules:
    if not tap.filter_name:
        return Rules()
    if "IP" not in tap.variables and needs(carrier.filter, tap.filter_name, "IP"):
        assert tap.variables["CTRL_IP_LEARNING"] == ("dhcp",)
        return learning_rules(tap.name)
    return expected_rules(carrier.filter, tap.filter_name, tap.variables, tap.name)


@pytest.mark.parametrize("host", ["kvm-jp7"], indirect=True)
def test_libvirt_obeys_the_mask_of_an_arp_sender(carrier: Carrier) -> None:
    assert "--arp-ip-src 192.168.74.0/24 -j RETURN" in carrier.saved()["ebtables"]


# -- and once more -----------------------------------------------------------------------------------------------------


def test_applying_again_changes_nothing(carrier: Carrier) -> None:
    """The same files again: no new UUID, no new MAC, no running thing touched.

    Compared by their identity, because libvirt lists the controllers that it adds itself now here, now there.
    """
    dumps, saved, domains = carrier.dumps(), carrier.saved(), carrier.lab.virsh("list", "--all").stdout
    carrier.define_all()
    for key, again in carrier.dumps().items():
        assert differences(dumps[key], again) == differences(again, dumps[key]) == [], key
    assert carrier.saved() == saved
    assert carrier.lab.virsh("list", "--all").stdout == domains


def _facts(printed: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in printed.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
