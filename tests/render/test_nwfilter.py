"""Network filters: whole files, libvirt's own schema, and what a real libvirtd makes of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from kvmgen.artifact import Defines, Kind
from kvmgen.model.filters import Filter, FilterRule, Match
from kvmgen.render.nwfilter import filter_xml, render
from tests.inventory.nwfilters import BEYOND_LIBVIRTS_SCHEMA, TRACKED, everything, lowered, own_filters
from tests.lab.host import LabHost
from tests.real.compare import differences
from tests.render.builders import view

LIMIT = lowered(
    """
    chain: ipv6-limit
    priority: -610
    rules:
      - {action: accept, direction: inout, ipv6: {}}
      - {priority: 400, action: drop, direction: in, statematch: false, ipv6: {match: false, srcipaddr: "$IPV6[@1]"}}
      - filter: clean-traffic
        parameters: {PORTS: [80, 443], IP: 192.0.2.10}
      - filter: no-ip-multicast
      - {priority: 1000, action: drop, direction: inout}
    """,
    "limit",
)

LIMIT_XML = """\
<!-- Made by kvmgen from inventory/filters/limit.yaml: edit that and build again. -->
<filter name='limit' chain='ipv6-limit' priority='-610'>
  <uuid>a2e9588f-04fe-5b4f-a404-0b867606be2c</uuid>
  <rule action='accept' direction='inout' priority='500'>
    <ipv6/>
  </rule>
  <rule action='drop' direction='in' priority='400' statematch='false'>
    <ipv6 match='no' srcipaddr='$IPV6[@1]'/>
  </rule>
  <filterref filter='clean-traffic'>
    <parameter name='IP' value='192.0.2.10'/>
    <parameter name='PORTS' value='80'/>
    <parameter name='PORTS' value='443'/>
  </filterref>
  <filterref filter='no-ip-multicast'/>
  <rule action='drop' direction='inout' priority='1000'/>
</filter>
"""

TRACKED_ALONE = [protocol for protocol in TRACKED if protocol not in ("all", "all-ipv6")]
FORGOTTEN = {
    "everything": {
        "tcp-ipv6/@flags",
        *(f"{protocol}/@{attribute}" for protocol in TRACKED_ALONE for attribute in ("ipset", "ipsetflags")),
    }
}
"""What libvirt's parser forgets although its format page has it; an ``ipset`` only where flags stand beside it."""

SHAPES: dict[str, Filter] = {
    filter_.name: filter_ for filter_ in (LIMIT, lowered(everything(), "everything"), *own_filters().values())
}


def test_whole_file() -> None:
    assert filter_xml(LIMIT) == LIMIT_XML


def test_artifact() -> None:
    (artifact,) = render(replace(view(), filters=(LIMIT,)))
    assert artifact.path == "libvirt/nwfilters/limit.xml"
    assert artifact.kind is Kind.NWFILTER
    assert artifact.sources == (LIMIT.origin, *(entry.origin for entry in LIMIT.entries))
    needs = ("clean-traffic", "no-ip-multicast")
    assert artifact.defines == Defines(name="limit", uuid=LIMIT.uuid, needs=needs)


@pytest.mark.real
@pytest.mark.parametrize("name", SHAPES)
def test_libvirt_schema(name: str, tmp_path: Path) -> None:
    """libvirt's own schema accepts it, but for the attributes that are known to be missing there."""
    file = tmp_path / f"{name}.xml"
    file.write_text(within_libvirts_schema(filter_xml(SHAPES[name])), encoding="utf-8")
    command = ["virt-xml-validate", str(file), "nwfilter"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def within_libvirts_schema(xml: str) -> str:
    """The filter without what libvirt's schema lacks; it wants flags beside every ipset, too."""
    root = etree.fromstring(xml)
    for match in root.iterfind("rule/*"):
        if "ipset" in match.attrib:
            match.set("ipsetflags", "src")
        for attribute in BEYOND_LIBVIRTS_SCHEMA.get(str(match.tag), ()):
            match.attrib.pop(attribute, "")
    return etree.tostring(root, encoding="unicode")


@pytest.fixture(scope="module")
def lab() -> Iterator[LabHost]:
    with LabHost() as host:
        host.start_libvirtd()
        yield host


@pytest.mark.real
@pytest.mark.parametrize("name", SHAPES)
def test_libvirt_keeps_all_of_it(lab: LabHost, name: str) -> None:
    """What libvirt's parser doesn't know, it drops without a word; so what it dumps must hold all that was written."""
    meant = filter_xml(SHAPES[name]).replace("gratuitous='yes'", "gratuitous='true'")
    lab.virsh_with("nwfilter-define", meant)
    lost = differences(meant, lab.virsh("nwfilter-dumpxml", name).stdout)
    assert {re.sub(r"^.*?]/(.*?) is missing.*", r"\1", line) for line in lost} == FORGOTTEN.get(name, set())


def test_any_text_comes_back() -> None:
    """The schema keeps quotes out of comments; the renderer would escape them all the same."""
    hostile = 'it\'s <a> & "b"'
    (rule, *_) = LIMIT.entries
    assert isinstance(rule, FilterRule)
    changed = replace(rule, match=Match(protocol="tcp", attributes=(("comment", hostile),)))
    root = etree.fromstring(filter_xml(replace(LIMIT, entries=(changed,))))
    found = root.find("rule/tcp")
    assert found is not None
    assert found.get("comment") == hostile
    assert re.match(r"<!-- Made by kvmgen", filter_xml(LIMIT))
