"""A RHEL domain is startable after `as_testable`, and nothing else of it has changed."""

from xml.etree import ElementTree

import pytest

from tests.lab.domain import as_testable, start_paused
from tests.lab.host import LabHost

pytestmark = pytest.mark.real

NETWORK_XML = """
<network>
  <name>lan</name>
  <bridge name='virbr-lan' stp='off' delay='0'/>
  <ip address='10.9.0.1' netmask='255.255.255.0'/>
  <port isolated='yes'/>
</network>"""
DOMAIN_XML = """
<domain type='kvm'>
  <name>web01</name>
  <uuid>6f1d1f0e-93f5-5b9c-8a44-0d8f5b0f7a01</uuid>
  <memory unit='MiB'>64</memory>
  <vcpu placement='static'>2</vcpu>
  <os firmware='efi'>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <firmware><feature enabled='no' name='secure-boot'/></firmware>
    <loader readonly='yes' type='pflash'>/usr/share/edk2/ovmf/OVMF_CODE.fd</loader>
    <nvram template='/usr/share/edk2/ovmf/OVMF_VARS.fd'/>
    <boot dev='hd'/>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='host-passthrough' check='none' migratable='on'>
    <topology sockets='1' dies='1' cores='2' threads='1'/>
    <feature policy='require' name='vmx'/>
  </cpu>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/libexec/qemu-kvm</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/web01.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <source bridge='br0'/>
      <target dev='web01-0'/>
      <model type='virtio'/>
      <driver queues='2'/>
      <filterref filter='clean-traffic'>
        <parameter name='CTRL_IP_LEARNING' value='none'/>
        <parameter name='IP' value='192.0.2.11'/>
      </filterref>
    </interface>
    <interface type='network'>
      <mac address='52:54:00:00:00:02'/>
      <source network='lan'/>
      <target dev='web01-1'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'/>
    <memballoon model='virtio'/>
  </devices>
</domain>"""
MACHINES = {
    "pc-i440fx-rhel7.6.0": "pc",
    "rhel6.6.0": "pc",
    "pc": "pc",
    "pc-q35-rhel8.6.0": "q35",
    "pc-q35-rhel9.4.0": "q35",
}


@pytest.fixture(scope="module")
def host_with_lan(lab_libvirt: LabHost) -> LabHost:
    """A host with a bridge and a network for the domain's two interfaces."""
    lab_libvirt.add_bridge("br0")
    lab_libvirt.virsh_with("net-define", NETWORK_XML, "--validate")
    lab_libvirt.virsh("net-start", "lan")
    return lab_libvirt


@pytest.mark.parametrize(("machine", "family"), MACHINES.items())
def test_a_machine_keeps_its_family(machine: str, family: str) -> None:
    kind = ElementTree.fromstring(as_testable(DOMAIN_XML.format(machine=machine))).find("os/type")
    assert kind is not None
    assert kind.attrib == {"arch": "x86_64", "machine": family}


def test_only_what_is_named_changes() -> None:
    original = DOMAIN_XML.format(machine="pc-q35-rhel9.4.0")
    before, after = (lines_of(xml) for xml in (original, as_testable(original)))
    assert after - before == {
        "domain type=qemu",
        "domain/os",
        "domain/os/type arch=x86_64 machine=q35: hvm",
        "domain/cpu",
        "domain/devices/emulator: /usr/bin/qemu-system-x86_64",
    }
    assert before - after == {
        "domain type=kvm",
        "domain/os firmware=efi",
        "domain/os/type arch=x86_64 machine=pc-q35-rhel9.4.0: hvm",
        "domain/os/firmware",
        "domain/os/firmware/feature enabled=no name=secure-boot",
        "domain/os/loader readonly=yes type=pflash: /usr/share/edk2/ovmf/OVMF_CODE.fd",
        "domain/os/nvram template=/usr/share/edk2/ovmf/OVMF_VARS.fd",
        "domain/cpu check=none migratable=on mode=host-passthrough",
        "domain/cpu/feature name=vmx policy=require",
        "domain/devices/emulator: /usr/libexec/qemu-kvm",
        "domain/devices/disk device=disk type=file",
        "domain/devices/disk/driver name=qemu type=qcow2",
        "domain/devices/disk/source file=/var/lib/libvirt/images/web01.qcow2",
        "domain/devices/disk/target bus=virtio dev=vda",
    }


def test_a_changed_domain_changes_no_more() -> None:
    once = as_testable(DOMAIN_XML.format(machine="pc-q35-rhel9.4.0"))
    assert as_testable(once) == once


def test_a_cpu_that_is_only_a_model_goes() -> None:
    assert "<cpu" not in as_testable("<domain type='kvm'><cpu mode='host-model'><model>EPYC</model></cpu></domain>")


@pytest.mark.parametrize("machine", ["pc-i440fx-rhel7.6.0", "pc-q35-rhel9.4.0"])
def test_a_rhel_domain_starts_paused_with_taps_and_filter(host_with_lan: LabHost, machine: str) -> None:
    name = start_paused(host_with_lan, as_testable(DOMAIN_XML.format(machine=machine)))
    assert host_with_lan.virsh("domstate", name).stdout.strip() == "paused"
    links = host_with_lan.run("ip", "-oneline", "link").stdout
    assert any("web01-0" in line and "master br0" in line for line in links.splitlines())
    assert any("web01-1" in line and "master virbr-lan" in line for line in links.splitlines())
    assert "-i web01-0 -j libvirt-I-web01-0" in host_with_lan.run("ebtables-save").stdout
    assert "-i virbr-lan" in host_with_lan.run("iptables-save").stdout
    isolated = host_with_lan.run("cat", "/sys/class/net/virbr-lan/brif/web01-1/isolated").stdout
    assert isolated == "1\n"
    host_with_lan.virsh("destroy", name)
    host_with_lan.virsh("undefine", name)
    assert "web01-0" not in host_with_lan.run("ebtables-save").stdout


def lines_of(xml: str) -> set[str]:
    """Every element as one line: path, sorted attributes, text."""
    lines: set[str] = set()

    def walk(element: ElementTree.Element, path: str) -> None:
        attributes = "".join(f" {key}={value}" for key, value in sorted(element.attrib.items()))
        text = (element.text or "").strip()
        lines.add(f"{path}{attributes}" + (f": {text}" if text else ""))
        for child in element:
            walk(child, f"{path}/{child.tag}")

    root = ElementTree.fromstring(xml)
    walk(root, root.tag)
    return lines
