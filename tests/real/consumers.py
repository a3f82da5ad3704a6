"""Programs that read generated files, asked about many at a time: each judge yields what its program refuses."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from kvmgen.artifact import Kind
from kvmgen.model.host import Link
from kvmgen.render._ifcfg_keys import keys
from kvmgen.render._machine import Machine
from tests.lab.domain import as_testable
from tests.lab.host import LabHost
from tests.real.compare import differences
from tests.real.items import Item, Refusal
from tests.real.test_site_libvirt import with_alias

BATCH = "/run/lab/batch"
"""A folder of the laboratory's host for files that wait for their reader."""

LONG = 300.0


# -- libvirt -----------------------------------------------------------------------------------------------------------

_DEFINE = {Kind.NETWORK: "net-define", Kind.NWFILTER: "nwfilter-define", Kind.DOMAIN: "define"}
_UNDEFINE = {Kind.NETWORK: "net-undefine", Kind.NWFILTER: "nwfilter-undefine", Kind.DOMAIN: "undefine"}
_DUMP = {Kind.NETWORK: "net-dumpxml --inactive", Kind.NWFILTER: "nwfilter-dumpxml", Kind.DOMAIN: "dumpxml --inactive"}
_QUIET = -1


def in_schema(found: Sequence[Item], schema: str) -> Iterator[Refusal]:
    """Hold each object against libvirt's own RELAX NG schema."""
    for item in found:
        command = ["xmllint", "--noout", "--relaxng", f"/usr/share/libvirt/schemas/{schema}.rng", "-"]
        done = subprocess.run(command, input=_text(item), capture_output=True, text=True, timeout=LONG, check=False)
        if done.returncode:
            yield Refusal(item, done.stderr)


def define(lab: LabHost, found: Sequence[Item]) -> Iterator[Refusal]:
    """Define each object under validation, compare what libvirt holds then with it, and take it away again."""
    script = []
    for number, item in enumerate(found):
        kind = item.artifact.kind
        path = _put(lab, f"{number}.xml", _text(item))
        script += [(number, _define(item, path)), (number, f"{_DUMP[kind]} {item.name}")]
        script += [(_QUIET, f"{_UNDEFINE[kind]} {item.name}")]
    said = _virsh(lab, script)
    yield from _refused(found, said)
    for number, item in enumerate(found):
        if not said.errors[number]:
            lost = differences(_text(item), with_alias(said.printed[number]))
            yield from (Refusal(item, f"libvirt holds something else: {line}") for line in lost)


def start_networks(lab: LabHost, found: Sequence[Item]) -> Iterator[Refusal]:
    """Define and start each network, with its dnsmasq."""
    script = []
    for number, item in enumerate(found):
        script += [(number, _define(item, _put(lab, f"{number}.xml", _text(item)))), (number, f"net-start {item.name}")]
        script += [(_QUIET, f"{command} {item.name}") for command in ("net-destroy", "net-undefine")]
    yield from _refused(found, _virsh(lab, script))


def start_domains(lab: LabHost, found: Sequence[Item]) -> Iterator[Refusal]:
    """Define and start each domain, its processors paused; the networks and bridges that it names must run."""
    script = []
    for number, item in enumerate(found):
        filters = [artifact for _, artifact in item.sample.of_kind(Kind.NWFILTER)]
        for index, artifact in enumerate(filters):
            path = _put(lab, f"{number}-{index}.xml", artifact.text)
            script.append((number, _define(replace(item, artifact=artifact), path)))
        script.append((number, _define(item, _put(lab, f"{number}.xml", _text(item)))))
        script.append((number, f"start {item.name} --paused"))
        script += [(_QUIET, f"{command} {item.name}") for command in ("destroy", "undefine")]
        names = [artifact.defines.name for artifact in reversed(filters) if artifact.defines]
        script += [(_QUIET, f"nwfilter-undefine {name}") for name in names]
    yield from _refused(found, _virsh(lab, script))


def instantiate_filters(lab: LabHost, found: Sequence[Item]) -> Iterator[Refusal]:
    """Bind filters, with all that they include, to taps, with their guests' parameters, as a guest's start does."""
    script = []
    for number, item in enumerate(found):
        filters = [artifact for _, artifact in item.sample.of_kind(Kind.NWFILTER)]
        (domain,) = (artifact.text for _, artifact in item.sample.of_kind(Kind.DOMAIN))
        for index, artifact in enumerate(filters):
            path = _put(lab, f"{number}-{index}.xml", artifact.text)
            script.append((number, _define(replace(item, artifact=artifact), path)))
        for index, interface in enumerate(ElementTree.fromstring(domain).iterfind("devices/interface")):
            binding = _binding(interface, f"tap{index}")
            if binding:
                script.append((number, f"nwfilter-binding-create {_put(lab, f'{number}-b{index}.xml', binding)}"))
                script.append((_QUIET, f"nwfilter-binding-delete tap{index}"))
        names = [artifact.defines.name for artifact in reversed(filters) if artifact.defines]
        script += [(_QUIET, f"nwfilter-undefine {name}") for name in names]
    yield from _refused(found, _virsh(lab, script))


def _binding(interface: ElementTree.Element, tap: str) -> str | None:
    reference, mac = interface.find("filterref"), interface.find("mac")
    if reference is None or mac is None:
        return None
    binding = ElementTree.fromstring(
        "<filterbinding><owner><name>new</name><uuid>11111111-1111-1111-1111-111111111111</uuid></owner>"
        f"<portdev name='{tap}'/></filterbinding>"
    )
    binding.extend([mac, reference])
    return ElementTree.tostring(binding, encoding="unicode")


def _text(item: Item) -> str:
    return as_testable(item.artifact.text) if item.artifact.kind is Kind.DOMAIN else item.artifact.text


def _define(item: Item, path: str) -> str:
    assert item.artifact.defines is not None
    return f"{_DEFINE[item.artifact.kind]} {path}" + " --validate" * item.artifact.defines.validate


@dataclass(frozen=True, slots=True)
class _Said:
    """What virsh said in answer to numbered commands, by number: complaints, and what it printed."""

    errors: Mapping[int, str]
    printed: Mapping[int, str]


def _virsh(lab: LabHost, script: Sequence[tuple[int, str]]) -> _Said:
    """Run numbered commands in one virsh."""
    lines = [
        line for number, command in script for line in (f"echo --err MARK {number}", f"echo MARK {number}", command)
    ]
    text = "".join(f"{line}\n" for line in lines)
    done = lab.run("virsh", "--quiet", "--connect", "qemu:///system", input=text, check=False, timeout=LONG)
    return _Said(
        _by_number(r"error: MARK (-?\d+)\n", done.stderr, len(script)),
        _by_number(r"MARK (-?\d+)virsh # .*\n", done.stdout, len(script)),
    )


def _by_number(mark: str, text: str, count: int) -> Mapping[int, str]:
    """What stands behind the marks, without what virsh repeats of its commands."""
    parts = re.split(f"^{mark}", text, flags=re.MULTILINE)
    assert len(parts) == 2 * count + 1, "virsh did all of it"
    found: defaultdict[int, str] = defaultdict(str)
    for number, words in zip(parts[1::2], parts[2::2], strict=True):
        found[int(number)] += re.sub(r"^virsh # .*\n?", "", words, flags=re.MULTILINE)
    return found


def _refused(found: Sequence[Item], said: _Said) -> Iterator[Refusal]:
    for number, item in enumerate(found):
        if said.errors[number].strip():
            yield Refusal(item, said.errors[number])


def _put(lab: LabHost, name: str, text: str) -> str:
    file = lab.file(f"{BATCH}/{name}")
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return f"{BATCH}/{name}"


# -- shells ------------------------------------------------------------------------------------------------------------

_SOURCE = """
for file; do
    ( exec 2>"$file.err" >"$file.out"; set -a; . "$file"; exec /usr/bin/env -0 )
done
"""
_ALWAYS_SET = {"PWD", "OLDPWD", "SHLVL", "_", "file"}


def source(shell: Sequence[str], found: Sequence[Item], folder: Path) -> Iterator[Refusal]:
    """Let one shell source each file in an empty folder; it must say nothing, and set what is meant."""
    empty = folder / "empty"
    empty.mkdir()
    files = [folder / str(number) for number in range(len(found))]
    for item, file in zip(found, files, strict=True):
        file.write_text(item.artifact.text)
    command = ["env", "-i", *shell, "-c", _SOURCE, "sh", *map(str, files)]
    subprocess.run(command, cwd=empty, check=True, timeout=LONG)
    assert list(empty.iterdir()) == []
    for item, file in zip(found, files, strict=True):
        said, printed = file.with_suffix(".err").read_text(), file.with_suffix(".out").read_text()
        pairs = (entry.split("=", 1) for entry in printed.split("\0") if entry)
        set_ = {name: value for name, value in pairs if name not in _ALWAYS_SET}
        if said or set_ != _meant(item):
            yield Refusal(item, f"{said}{set_} instead of {_meant(item)}")


def _meant(item: Item) -> dict[str, str]:
    node, name = item.node, item.path.rpartition("/")[2]
    machine = Machine.of(node)
    if name == "network":
        more = {"IPV6FORWARDING": "yes"} if machine.forwards_ipv6 else {}
        return {"NETWORKING": "yes", "NETWORKING_IPV6": "yes", **more, "HOSTNAME": node.hostname}
    return dict(keys(_link(item), machine))


# -- the kernel --------------------------------------------------------------------------------------------------------


def configure(lab: LabHost, found: Sequence[Item]) -> Iterator[Refusal]:
    """Let the kernel configure the link of each ifcfg or route file, as network-scripts would, and add its routes.

    Routes of a link that asks for its addresses may lead through what it gets: they are left out.
    """
    script: list[tuple[int, str]] = []
    for number, item in enumerate(found):
        link = _link(item)
        script += [(_QUIET, f"link add {link.name} type veth peer name of-other-end")]
        script += [(_QUIET, "link set of-other-end up mtu 65535")]
        script += [(number, f"link set {link.name} up mtu {link.mtu or 1500}")]
        script += [
            (number, f"address add {one} dev {link.name}{' nodad' * (one.version == 6)}")
            for one in link.addressing.addresses
        ]
        if "/route" in item.path and not (link.addressing.dhcp4 or link.addressing.dhcp6 or link.addressing.accept_ra):
            lines = (line for line in item.artifact.text.splitlines() if not line.startswith("#"))
            script += [(number, f"route add {line}") for line in lines]
        script.append((_QUIET, f"link delete {link.name}"))
    text = "".join(f"{line}\n" for _, line in script)
    done = lab.run("unshare", "--net", "ip", "-force", "-batch", "-", input=text, check=False, timeout=LONG)
    errors: defaultdict[int, str] = defaultdict(str)
    for words, line in re.findall(r"(.*?)\nCommand failed -:(\d+)\n", done.stderr, re.DOTALL):
        number, command = script[int(line) - 1]
        assert number != _QUIET, f"{command}: {words}"
        errors[number] += f"{command}: {words.strip()}\n"
    yield from _refused(found, _Said(errors, {}))


def _link(item: Item) -> Link:
    name = re.sub(r".*/(ifcfg|route6?)-", "", item.path)
    return next(link for link in item.node.links if link.name == name)


def read_settings(lab: LabHost, found: Sequence[Item]) -> Iterator[Refusal]:
    """Let systemd-sysctl read each file: it complains of no line, and tries to set each key that is meant.

    In a network of its own; the other kernel settings are read-only there.
    """
    for number, item in enumerate(found):
        path = _put(lab, f"{number}.conf", item.artifact.text)
        command = ("env", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", "/lib/systemd/systemd-sysctl", path)
        said = lab.run("unshare", "--net", "--ipc", *command, check=False).stderr
        complaints = [line for line in said.splitlines() if re.match(rf"{re.escape(path)}:\d+:", line)]
        missing = [f"{key} isn't set" for key, value in _settings(item) if not _tries(said, key, value)]
        if complaints or missing:
            yield Refusal(item, "\n".join([*complaints, *missing]))


def _settings(item: Item) -> Iterator[tuple[str, str]]:
    """The plain keys that are meant, as paths; patterns fit what is there."""
    for setting in item.node.sysctl:
        if f"\n{setting.key} = " in item.artifact.text and "*" not in setting.key:
            with_dots = next(char for char in setting.key if char in "./") == "."
            yield setting.key.translate(str.maketrans("./", "/.")) if with_dots else setting.key, setting.value


def _tries(said: str, key: str, value: str) -> bool:
    return f"Setting '/proc/sys/{key}' to '{value.strip()}'" in said


# -- packet filters ----------------------------------------------------------------------------------------------------

_RESTORE = 'for file; do "$0" --test "$file" >"$file.err" 2>&1; done'
_FAMILIES = {"ipv4": "iptables", "ipv6": "ip6tables"}


def restore(lab: LabHost, program: str, found: Sequence[Item]) -> Iterator[Refusal]:
    """Let iptables-restore or ip6tables-restore test each file of el6."""
    yield from _restored(lab, program, found, [item.artifact.text for item in found])


def direct_rules(lab: LabHost, found: Sequence[Item]) -> Iterator[Refusal]:
    """Let iptables-restore test the rules of each direct.xml, split into words as firewalld splits them."""
    for family, program in _FAMILIES.items():
        yield from _restored(lab, program, found, [_as_tables(item.artifact.text, family) for item in found])


def _restored(lab: LabHost, program: str, found: Sequence[Item], texts: Sequence[str]) -> Iterator[Refusal]:
    paths = [_put(lab, f"{number}.rules", text) for number, text in enumerate(texts)]
    lab.run("unshare", "--net", "sh", "-c", _RESTORE, f"{program}-restore", *paths, check=False, timeout=LONG)
    for item, path in zip(found, paths, strict=True):
        said = lab.file(f"{path}.err").read_text()
        if said:
            yield Refusal(item, said)


def _as_tables(direct: str, family: str) -> str:
    tables: defaultdict[str, list[str]] = defaultdict(list)
    for element in ElementTree.fromstring(direct):
        if element.get("ipv") == family:
            chain = element.get("chain", "")
            line = f":{chain} - [0:0]"
            if element.tag == "rule":
                words = (f'"{word}"' if " " in word else word for word in shlex.split(element.text or ""))
                line = f"-A {chain} {' '.join(words)}"
            tables[element.get("table", "")].append(line)
    return "".join("\n".join([f"*{table}", *lines, "COMMIT\n"]) for table, lines in tables.items())


def check_config(found: Sequence[Item], folder: Path) -> Iterator[Refusal]:
    """Let firewalld check each file, in the configuration of its machine."""
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda pair: _check_config(folder / str(pair[0]), pair[1]), enumerate(found))
    yield from (Refusal(item, words) for item, words in zip(found, said, strict=True) if words)


def _check_config(folder: Path, item: Item) -> str:
    for view, artifact in item.sample.artifacts:
        other = Item(item.sample, view, artifact)
        if other.node is item.node and other.path.startswith("etc/firewalld"):
            file = folder / other.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(artifact.text)
    (folder / "etc/firewalld/firewalld.conf").touch()
    command = ("firewall-offline-cmd", f"--system-config={folder / 'etc/firewalld'}", "--check-config")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 and not done.stdout.strip() else done.stdout + done.stderr
