"""What kvmgen believes of libvirt's own filters is what libvirt installs."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from kvmgen.model.builtin_filters import BUILT_IN_FILTERS
from kvmgen.model.filters import Filter, FilterInclude, FilterRule

pytestmark = pytest.mark.real

INSTALLED = Path("/usr/share/libvirt/nwfilter")

Said = tuple[str, str, str, str, frozenset[tuple[str, str]]]


def of_rule(rule: FilterRule) -> Said:
    protocol, attributes = (rule.match.protocol, rule.match.attributes) if rule.match else ("", ())
    return rule.action, rule.direction, str(rule.priority), protocol, frozenset(attributes)


def of_element(element: ElementTree.Element) -> Said:
    match = next(iter(element), None)
    attributes = {} if match is None else {name: value for name, value in match.items() if name != "match"}
    priority = element.get("priority", "500")
    protocol = "" if match is None else match.tag
    return element.attrib["action"], element.attrib["direction"], priority, protocol, frozenset(attributes.items())


def believed(filter_: Filter) -> list[str | Said]:
    return [entry.filter if isinstance(entry, FilterInclude) else of_rule(entry) for entry in filter_.entries]


def installed(root: ElementTree.Element) -> list[str | Said]:
    entries = (entry for entry in root if entry.tag in ("rule", "filterref"))
    return [entry.attrib["filter"] if entry.tag == "filterref" else of_element(entry) for entry in entries]


def test_all_are_known() -> None:
    assert sorted(path.stem for path in INSTALLED.glob("*.xml")) == sorted(BUILT_IN_FILTERS)


@pytest.mark.parametrize("name", BUILT_IN_FILTERS)
def test_they_say_the_same(name: str) -> None:
    root, known = ElementTree.parse(INSTALLED / f"{name}.xml").getroot(), BUILT_IN_FILTERS[name]
    assert root.get("chain", "root") == known.chain
    assert root.get("priority") == (None if known.priority is None else str(known.priority))
    assert installed(root) == believed(known)
