"""Kernel settings: as text, and as systemd's own programs apply them in a namespace."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kvmgen.artifact import Artifact, Kind
from kvmgen.diagnostics import Origin
from kvmgen.model.host import Sysctl
from kvmgen.model.platform import Platform
from kvmgen.render import sysctl
from tests.render.builders import host

ORIGIN = Origin("hosts/kvm01.yaml", ("sysctl",))
NETWORK = Origin("networks/lan.yaml")
HEADER = "# Made by kvmgen from inventory/hosts/kvm01.yaml: edit that and build again.\n"

SETTINGS = (
    Sysctl(key="net.ipv4.conf.all.rp_filter", value="1", origin=ORIGIN),
    Sysctl(key="net.ipv4.ip_forward", value="1", origin=NETWORK, why="The network lan is routed."),
)

UDEV = (
    'ACTION=="add", SUBSYSTEM=="module", KERNEL=="br_netfilter", '
    'RUN+="/usr/lib/systemd/systemd-sysctl --prefix=/net/bridge"\n'
)


def written(
    platform: str, settings: tuple[Sysctl, ...] = (), bridge_netfilter: bool | None = None
) -> dict[str, Artifact]:
    node = host(platform=Platform.parse(platform), sysctl=settings, bridge_netfilter=bridge_netfilter)
    return {file.path: file for file in sysctl.files(node)}


def test_derived_settings_stand_first_with_their_reason() -> None:
    (file,) = written("el7", SETTINGS).values()
    assert file.path == "etc/sysctl.d/90-kvmgen.conf"
    assert (
        file.text
        == f"""{HEADER}# The network lan is routed.
net.ipv4.ip_forward = 1
net.ipv4.conf.all.rp_filter = 1
"""
    )
    assert (file.kind, file.mode) == (Kind.SYSCTL, 0o644)
    assert file.sources == (ORIGIN, NETWORK, Origin("hosts/kvm01.yaml"))


def test_bridge_netfilter_on_is_module_keys_and_rule() -> None:
    files = written("el7", bridge_netfilter=True)
    assert [file.kind for file in files.values()] == [Kind.MODULES, Kind.SYSCTL, Kind.UDEV]
    assert {path: file.text for path, file in files.items()} == {
        "etc/modules-load.d/kvmgen-bridge.conf": f"{HEADER}br_netfilter\n",
        "etc/sysctl.d/99-zz-kvmgen-bridge.conf": f"""{HEADER}\
# Frames between the ports of a bridge pass this machine's packet filter.
net.bridge.bridge-nf-call-ip6tables = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-arptables = 1
""",
        "etc/udev/rules.d/99-kvmgen-bridge.rules": HEADER + UDEV,
    }


def test_bridge_netfilter_off_loads_no_module() -> None:
    files = written("el8", bridge_netfilter=False)
    assert list(files) == ["etc/sysctl.d/99-zz-kvmgen-bridge.conf", "etc/udev/rules.d/99-kvmgen-bridge.rules"]
    assert "net.bridge.bridge-nf-call-iptables = 0\n" in files["etc/sysctl.d/99-zz-kvmgen-bridge.conf"].text


@pytest.mark.parametrize(("platform", "prefix"), [("el7", ""), ("el8", ""), ("el9", "-"), ("el10", "-")])
def test_errors_are_ignored_by_name_only_where_systemd_knows_how(platform: str, prefix: str) -> None:
    text = written(platform, bridge_netfilter=True)["etc/sysctl.d/99-zz-kvmgen-bridge.conf"].text
    assert f"\n{prefix}net.bridge.bridge-nf-call-iptables = 1\n" in text


def test_el6_keeps_what_its_own_file_said() -> None:
    (file,) = written("el6", SETTINGS, bridge_netfilter=True).values()
    assert file.path == "etc/sysctl.conf"
    assert (
        file.text
        == f"""{HEADER}# The distribution's own settings
net.ipv4.conf.default.rp_filter = 1
net.ipv4.conf.default.accept_source_route = 0
kernel.sysrq = 0
kernel.core_uses_pid = 1
net.ipv4.tcp_syncookies = 1
kernel.msgmnb = 65536
kernel.msgmax = 65536
kernel.shmmax = 68719476736
kernel.shmall = 4294967296
# This machine's
# The network lan is routed.
net.ipv4.ip_forward = 1
net.ipv4.conf.all.rp_filter = 1
# Frames between the ports of a bridge pass this machine's packet filter.
net.bridge.bridge-nf-call-ip6tables = 1
net.bridge.bridge-nf-call-iptables = 1
net.bridge.bridge-nf-call-arptables = 1
"""
    )


def test_el6_leaves_bridges_to_the_distribution_where_nothing_depends_on_them() -> None:
    (file,) = written("el6", SETTINGS).values()
    assert "net.bridge.bridge-nf-call-iptables = 0\n" in file.text


@pytest.mark.parametrize("platform", ["el6", "el7", "el9"])
def test_no_settings_no_file(platform: str) -> None:
    assert written(platform) == {}


def in_namespace(script: str, *arguments: str) -> list[str]:
    """What a shell script says in a network of its own, where net.* keys are its own too."""
    command = ("unshare", "--net", "--mount", "sh", "-ec", script, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


@pytest.mark.real
@pytest.mark.parametrize("platform", ["el7", "el9"])
@pytest.mark.parametrize("on", [True, False])
def test_systemd_sysctl_applies_the_files(platform: str, on: bool, tmp_path: Path) -> None:
    names = []
    for path, file in written(platform, SETTINGS, bridge_netfilter=on).items():
        if file.kind is Kind.SYSCTL:
            (tmp_path / Path(path).name).write_text(file.text)
            names.append(str(tmp_path / Path(path).name))
    keys = ("net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", *sysctl._BRIDGE_KEYS)
    script = f'/lib/systemd/systemd-sysctl --strict "$@" && sysctl -n {" ".join(keys)}'
    assert in_namespace(script, "sh", *names) == ["1", "1", *[str(int(on))] * 3]


@pytest.mark.real
def test_our_keys_win_over_the_administrators_sysctl_conf(tmp_path: Path) -> None:
    """The folder as a whole, as at boot: /etc/sysctl.conf is 99-sysctl.conf there."""
    (tmp_path / "99-sysctl.conf").write_text("".join(f"{key} = 0\n" for key in sysctl._BRIDGE_KEYS))
    text = written("el7", bridge_netfilter=True)["etc/sysctl.d/99-zz-kvmgen-bridge.conf"].text
    (tmp_path / "99-zz-kvmgen-bridge.conf").write_text(text)
    script = 'mount --bind "$1" /etc/sysctl.d && /lib/systemd/systemd-sysctl --prefix=/net/bridge'
    script += f" && sysctl -n {' '.join(sysctl._BRIDGE_KEYS)}"
    assert in_namespace(script, "sh", str(tmp_path)) == ["1", "1", "1"]


@pytest.mark.real
def test_udev_understands_the_rule(tmp_path: Path) -> None:
    """udevadm reads the machine's rule files; a namespace shows it ours alone, and it tells what it can't read."""
    rules = tmp_path / "99-kvmgen-bridge.rules"
    rules.write_text(written("el7", bridge_netfilter=True)["etc/udev/rules.d/99-kvmgen-bridge.rules"].text)
    script = 'mount --bind "$1" /etc/udev/rules.d && udevadm test --action=add /module/bridge 2>&1'
    said = in_namespace(script, "sh", str(tmp_path))
    assert "/etc/udev/rules.d/99-kvmgen-bridge.rules" in said
    assert not [word for word in said if word.startswith("/etc/udev/rules.d/99-kvmgen-bridge.rules:")]


@pytest.mark.real
def test_systemd_modules_load_reads_the_name(tmp_path: Path) -> None:
    """The module itself may be built in or not be there: what counts is the name that is asked for."""
    file = tmp_path / "kvmgen-bridge.conf"
    file.write_text(written("el7", bridge_netfilter=True)["etc/modules-load.d/kvmgen-bridge.conf"].text)
    command = ("unshare", "--mount", "/lib/systemd/systemd-modules-load", str(file))
    environment = {"SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_LOG_TARGET": "console"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert "br_netfilter" in done.stderr
    assert "Made" not in done.stderr
