"""A domain that was made for a RHEL host, startable on the machine that runs the tests.

What makes it RHEL's own is replaced by one function, and nothing else is: every other line of a domain meets a real
libvirt and a real QEMU as it is.
"""

from xml.etree import ElementTree

from tests.lab.host import LabError, LabHost

EMULATOR = "/usr/bin/qemu-system-x86_64"
START_TIMEOUT = 30.0
# What stands beside these in <cpu> says how many processors there are, and any machine can have that.
CPU_MODEL_PARTS = ("model", "vendor", "feature", "maxphysaddr")
FIRMWARE_PARTS = ("firmware", "loader", "nvram")


def as_testable(domain_xml: str) -> str:
    """Replace a domain's type, machine, emulator, CPU model and disks, and the firmware that goes with the machine.

    The type becomes `qemu` (emulation), the machine the newest of its own family (`pc` or `q35`), the emulator
    the distribution's. CPU model and mode, disks and firmware go.
    """
    domain = ElementTree.fromstring(domain_xml)
    domain.set("type", "qemu")
    _replace_machine(domain)
    _drop_cpu_model(domain)
    devices = domain.find("devices")
    if devices is not None:
        _replace_emulator_and_disks(devices)
    return ElementTree.tostring(domain, encoding="unicode")


def start_paused(host: LabHost, domain_xml: str, timeout: float = START_TIMEOUT) -> str:
    """Define and start a domain whose processors never run; returns its name.

    Its taps, their filters and its network connections are all there, as on a running guest.
    """
    name = ElementTree.fromstring(domain_xml).findtext("name")
    if not name:
        raise LabError("the domain has no name")
    host.virsh_with("define", domain_xml, "--validate")
    host.virsh("start", name, "--paused", timeout=timeout)
    return name


def _replace_machine(domain: ElementTree.Element) -> None:
    system = domain.find("os")
    if system is None:
        return
    kind = system.find("type")
    if kind is not None and "machine" in kind.attrib:
        kind.set("machine", "q35" if "q35" in kind.attrib["machine"] else "pc")
    system.attrib.pop("firmware", None)
    _remove(system, FIRMWARE_PARTS)


def _drop_cpu_model(domain: ElementTree.Element) -> None:
    cpu = domain.find("cpu")
    if cpu is None:
        return
    cpu.attrib.clear()
    _remove(cpu, CPU_MODEL_PARTS)
    if len(cpu) == 0:
        domain.remove(cpu)


def _replace_emulator_and_disks(devices: ElementTree.Element) -> None:
    emulator = devices.find("emulator")
    if emulator is not None:
        emulator.text = EMULATOR
    _remove(devices, ("disk",))


def _remove(parent: ElementTree.Element, names: tuple[str, ...]) -> None:
    for name in names:
        for child in parent.findall(name):
            parent.remove(child)
