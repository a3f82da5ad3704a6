"""The compiled example site's files under /etc, read by the programs that read them on a host.

Each file of each host, and of each guest's inside, meets its own reader; what the reader made of it is compared with
the model, not with the file's text.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvmgen.model.host import DirectRule, Node, Zone
from kvmgen.render._ifcfg_keys import keys
from kvmgen.render._machine import Machine as LinkMachine
from tests.lab.host import Backend, LabHost
from tests.real.site import HOSTS, CompiledSite, Machine
from tests.render.shell import SHELLS, sourced

pytestmark = pytest.mark.real

NETWORK_SCRIPTS = "etc/sysconfig/network-scripts"
FAMILIES = {"ipv4": "iptables", "ipv6": "ip6tables"}
BRIDGE_KEYS = tuple(f"net.bridge.bridge-nf-call-{program}" for program in ("iptables", "ip6tables", "arptables"))
BUILT_IN = {"filter": ("INPUT", "FORWARD", "OUTPUT"), "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")}
# A network namespace of its own inside the laboratory's host, whose /proc/sys is read-only but for `net`.
OWN_NETWORK = ("unshare", "--net", "--ipc")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    """A host with the message bus; firewalld is started anew for each configuration."""
    with LabHost() as host:
        yield host


@pytest.fixture(params=HOSTS)
def machines(request: pytest.FixtureRequest, compiled_site: CompiledSite) -> list[Machine]:
    """A host and the guests that have files on it."""
    return list(compiled_site.hosts[request.param].machines())


def test_every_file_has_a_reader_here(compiled_site: CompiledSite) -> None:
    """A new kind of file must not go unread."""
    known = (
        "etc/NetworkManager/system-connections/",
        "etc/firewalld/",
        "etc/modules-load.d/",
        "etc/nftables/",
        "etc/sysctl.d/",
        f"{NETWORK_SCRIPTS}/ifcfg-",
        "etc/systemd/system/",
        "etc/udev/rules.d/",
    )
    single = {"etc/sysctl.conf", "etc/sysconfig/network", "etc/sysconfig/iptables", "etc/sysconfig/ip6tables"}
    seen = set()
    for host in compiled_site.hosts.values():
        for machine in host.machines():
            for path in machine.texts("etc"):
                assert path in single or path.startswith(known), path
                seen.add(path if path in single else next(start for start in known if path.startswith(start)))
    assert seen == {*known, *single}, "and the example site has one of each"


# -- firewalld ---------------------------------------------------------------------------------------------------------


def test_firewalld_accepts_the_configuration(machines: list[Machine]) -> None:
    for machine in machines:
        if machine.texts("etc/firewalld"):
            command = ("firewall-offline-cmd", f"--system-config={machine.folder / 'etc/firewalld'}", "--check-config")
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_firewalld_runs_with_what_was_meant(lab: LabHost, machines: list[Machine], backend: Backend) -> None:
    for machine in machines:
        if machine.texts("etc/firewalld"):
            assert lab.start_firewalld(machine.folder / "etc/firewalld", backend) == "running"
            assert machine.node.firewall is not None
            _same_direct_rules(lab, machine.node.firewall.rules)
            assert _lines(lab, "--direct", "--get-all-chains") == sorted(
                f"{chain.family} {chain.table} {chain.chain}" for chain in machine.node.firewall.chains
            )
            for zone in machine.node.firewall.zones:
                _same_zone(lab, zone)
            _zones_of_links(lab, machine.node)


def _same_direct_rules(lab: LabHost, rules: tuple[DirectRule, ...]) -> None:
    meant = sorted(f"{rule.family} {rule.table} {rule.chain} {rule.priority} {_for_shell(rule.rule)}" for rule in rules)
    assert _lines(lab, "--direct", "--get-all-rules") == meant
    for family, program in FAMILIES.items():
        for table in {rule.table for rule in rules}:
            saved = lab.run(f"{program}-save", "-t", table).stdout.splitlines()
            in_kernel = [_words(line.split(" ", 2)[2]) for line in saved if line.startswith("-A ")]
            for rule in rules:
                if (rule.family, rule.table) == (family, table):
                    assert in_kernel.count(_words(rule.rule)) == 1, rule


def _for_shell(rule: str) -> str:
    """As `firewall-cmd` prints it: ready to be pasted, so that a lone `!` stands in quotes."""
    return shlex.join(shlex.split(rule))


def _same_zone(lab: LabHost, zone: Zone) -> None:
    info = _facts(lab.run("firewall-cmd", f"--info-zone={zone.name}").stdout)
    yes = {True: "yes", False: "no"}
    target = {"REJECT": "%%REJECT%%"}.get(zone.target, zone.target)
    # `--info-zone` says nothing of the target of the running zone.
    assert lab.run("firewall-cmd", "--permanent", f"--zone={zone.name}", "--get-target").stdout.strip() == target
    assert {key: sorted(info[key].split()) for key in ("interfaces", "sources", "services", "ports")} == {
        "interfaces": sorted(zone.interfaces),
        "sources": sorted(zone.sources),
        "services": sorted(zone.services),
        "ports": sorted(f"{port.port}/{port.protocol}" for port in zone.ports),
    }
    assert (info["masquerade"], info["forward"]) == (yes[zone.masquerade], yes[zone.forward])


def _zones_of_links(lab: LabHost, node: Node) -> None:
    for link in node.links:
        if link.zone is not None:
            assert lab.run("firewall-cmd", f"--get-zone-of-interface={link.name}").stdout.strip() == link.zone


def _lines(lab: LabHost, *question: str) -> list[str]:
    return sorted(lab.run("firewall-cmd", *question).stdout.splitlines())


def _facts(printed: str) -> dict[str, str]:
    pairs = (line.strip().split(":", 1) for line in printed.splitlines() if ":" in line)
    return {key: value.strip() for key, value in pairs}


# -- el6's iptables ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """A table as iptables-save prints it: the built-in chains' policies, and each chain's rules in order."""

    policies: dict[str, str]
    rules: dict[str, list[list[str]]]


@pytest.mark.parametrize("family", FAMILIES)
def test_iptables_holds_what_was_meant(lab: LabHost, machines: list[Machine], family: str) -> None:
    program = FAMILIES[family]
    for machine in machines:
        for text in machine.texts(f"etc/sysconfig/{program}").values():
            tested = lab.run(*OWN_NETWORK, f"{program}-restore", "--test", input=text)
            assert tested.stdout + tested.stderr == ""
            saved = lab.run(*OWN_NETWORK, "sh", "-ec", f"{program}-restore && {program}-save", input=text).stdout
            assert _tables(saved) == _meant_tables(machine.node, family)


def _tables(saved: str) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    for line in saved.splitlines():
        current = next(reversed(tables.values()), None)
        if line.startswith("*"):
            tables[line[1:]] = Table({}, {})
        elif current is not None and line.startswith(":"):
            chain, policy, _ = line[1:].split(" ", 2)
            current.policies[chain] = policy
        elif current is not None and line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            current.rules.setdefault(chain, []).append(_words(rule))
    return tables


def _meant_tables(node: Node, family: str) -> dict[str, Table]:
    firewall = node.firewall
    assert firewall is not None
    rules = sorted((rule for rule in firewall.rules if rule.family == family), key=lambda rule: rule.priority)
    policies = {chain: verdict for said, chain, verdict in firewall.chain_policies if said == family}
    names = {rule.table for rule in rules} | ({"filter"} if policies else set())
    tables = {name: Table(dict.fromkeys(BUILT_IN[name], "ACCEPT"), {}) for name in names}
    if policies:
        tables["filter"].policies.update(policies)
    for rule in rules:
        tables[rule.table].rules.setdefault(rule.chain, []).append(_words(rule.rule))
    return tables


def _words(rule: str) -> list[str]:
    """A rule's words, because iptables writes options, and the states in a list, in an order of its own."""
    words = (",".join(sorted(word.split(","))) for word in shlex.split(rule.replace("! -", "!-")))
    return sorted(words)


# -- kernel settings ---------------------------------------------------------------------------------------------------


def test_the_kernel_gets_the_settings_that_were_meant(lab: LabHost, machines: list[Machine]) -> None:
    for machine in machines:
        files = [str(machine.folder / path) for path in machine.texts("etc/sysctl.d")]
        old = machine.texts("etc/sysctl.conf")
        meant = _meant_settings(machine.node)
        assert bool(files or old) == bool(meant)
        if files:
            reader = "/lib/systemd/systemd-sysctl --strict"
            assert _read_back(lab, reader, files, meant) == meant, machine.name
        if old:
            # As el6's rc.sysinit does; it is the machine's own kernel that it can't write to, and says so.
            ours = {key: value for key, value in meant.items() if key.startswith("net.")}
            reader = "sysctl -e -q -p"
            assert _read_back(lab, reader, [str(machine.folder / "etc/sysctl.conf")], ours) == ours, machine.name
            assert {key: value for key, value in _assigned(old).items() if key in meant} == meant


def _meant_settings(node: Node) -> dict[str, str]:
    settings = {setting.key: setting.value for setting in node.sysctl}
    if node.bridge_netfilter is not None:
        settings |= dict.fromkeys(BRIDGE_KEYS, str(int(node.bridge_netfilter)))
    return settings


def _read_back(lab: LabHost, reader: str, files: list[str], meant: dict[str, str]) -> dict[str, str]:
    """Start from the opposite of what is meant, let the reader apply the files, and ask the kernel."""
    opposite = [f"{key}={int(value == '0')}" for key, value in meant.items()]
    script = f'sysctl -q -w {" ".join(opposite)}; {reader} "$@" || test {int("-e" in reader)} = 1'
    script += f"; sysctl -n {' '.join(meant)}"
    values = lab.run(*OWN_NETWORK, "sh", "-ec", script, "sh", *files).stdout.split()
    return dict(zip(meant, values, strict=True))


def _assigned(texts: dict[str, str]) -> dict[str, str]:
    """The settings that a file says, the last word counting."""
    lines = (line.split("=", 1) for text in texts.values() for line in text.splitlines() if line[:1] not in ("#", ""))
    return {key.strip(): value.strip() for key, value in lines}


def test_systemd_loads_the_modules_that_were_meant(lab: LabHost, machines: list[Machine]) -> None:
    """The module may be built in or absent here: what counts is what is asked for."""
    for machine in machines:
        texts = machine.texts("etc/modules-load.d")
        assert bool(texts) == bool(machine.node.bridge_netfilter and machine.node.platform.major > 6)
        for path in texts:
            command = ("/lib/systemd/systemd-modules-load", str(machine.folder / path))
            said = lab.run("env", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", *command, check=False)
            assert set(re.findall(r"module:? '?([\w-]+)'?", said.stderr, re.IGNORECASE)) == {"br_netfilter"}


def test_udev_understands_the_rules(lab: LabHost, machines: list[Machine]) -> None:
    """It reads its whole folder and says which lines it can't read."""
    for machine in machines:
        for path, text in machine.texts("etc/udev/rules.d").items():
            lab.write(f"/{path}", text)
            said = lab.run("udevadm", "test", "--action=add", "/module/bridge", check=False)
            told = (said.stdout + said.stderr).splitlines()
            assert any(f"/{path}" in line for line in told)
            assert [line for line in told if f"/{path}:" in line] == []
            lab.run("rm", f"/{path}")


# -- initscripts' files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_that_sources_a_file_gets_what_was_meant(
    machines: list[Machine], shell: tuple[str, ...], tmp_path: Path
) -> None:
    for machine in (machine for machine in machines if machine.node.platform.uses_ifcfg):
        meant = _meant_assignments(machine.node)
        found = machine.texts(NETWORK_SCRIPTS) | machine.texts("etc/sysconfig/network")
        assert set(found) == set(meant), machine.name
        for path, text in found.items():
            assert sourced(text, shell, tmp_path) == meant[path], path


def _meant_assignments(node: Node) -> dict[str, dict[str, str]]:
    links = LinkMachine.of(node)
    files = {f"{NETWORK_SCRIPTS}/ifcfg-{link.name}": dict(keys(link, links)) for link in node.links}
    if node.platform.major == 6:
        settings = {"NETWORKING": "yes", "NETWORKING_IPV6": "yes", "HOSTNAME": node.hostname}
        files["etc/sysconfig/network"] = settings
    return files
