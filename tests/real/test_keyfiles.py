"""The profiles of el9 and el10, read by NetworkManager: it drops what it doesn't know without a word."""

from __future__ import annotations

import pytest

from kvmgen.model.host import Node
from tests.lab.host import LabHost
from tests.real.profiles import nodes, not_kept, parsed, profiles, read_back

pytestmark = pytest.mark.real

NODES = nodes()


@pytest.fixture(params=NODES)
def node(request: pytest.FixtureRequest) -> Node:
    return NODES[request.param]


def test_every_key_is_kept(lab_host: LabHost, node: Node) -> None:
    texts = [file.text for file in profiles(node)]
    assert len(texts) == len(list(node.links))
    for text, (kept, said) in zip(texts, read_back(lab_host, texts), strict=True):
        assert (not_kept(text, kept), said) == ([], "")


def test_uuids_are_unique() -> None:
    uuids = [parsed(file.text)["connection"]["uuid"] for node in NODES.values() for file in profiles(node)]
    assert len(set(uuids)) == len(uuids)


def test_what_is_lost_would_be_noticed(lab_host: LabHost) -> None:
    """Else the first test would hold whatever NetworkManager thought of a key."""
    text = profiles(NODES["kvm9"])[0].text
    newer = text.replace("\nmaster=", "\ncontroller=").replace("\nslave-type=", "\nport-type=")
    ((kept, said),) = read_back(lab_host, [newer])
    assert said == ""
    lost = [line.split(":")[0] for line in not_kept(newer, kept)]
    assert lost[:2] == ["('connection', 'controller')", "('connection', 'port-type')"]
