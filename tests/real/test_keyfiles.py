"""The profiles of el9 and el10, read by NetworkManager: it drops what it doesn't know without a word."""

from __future__ import annotations

import pytest

from kvmgen.model.host import Node
from kvmgen.render._keyfile_keys import escaped
from tests.lab.host import LabHost
from tests.real.profiles import nodes, not_kept, parsed, profiles, read_back
from tests.real.test_qemu_bonding import ALLOWED, MODES, VALUES

pytestmark = pytest.mark.real

NODES = nodes()
UUID = "5f8d6b5c-0000-4000-8000-000000000001"


@pytest.fixture(params=NODES)
def node(request: pytest.FixtureRequest) -> Node:
    return NODES[request.param]


def test_every_key_is_kept(lab_host: LabHost, node: Node) -> None:
    texts = [file.text for file in profiles(node)]
    assert len(texts) == len(list(node.links))
    for text, (kept, said) in zip(texts, read_back(lab_host, texts), strict=True):
        assert (not_kept(text, kept), said) == ([], "")


def test_every_option_that_a_mode_has_is_kept(lab_host: LabHost) -> None:
    """What the checks allow, NetworkManager allows: it refuses a bond as a whole for one option."""
    bond = next(file.text for file in profiles(NODES["kvm9"]) if "\n[bond]\n" in file.text)
    before, _, _ = bond.partition("\n[bond]\n")
    monitor = {"arp_interval": VALUES["arp_interval"], "arp_ip_target": VALUES["arp_ip_target"].lstrip("+")}
    texts = []
    for mode in MODES:
        for option in (option for option in VALUES if mode in ALLOWED.get(option, MODES)):
            if option == "arp_ip_target" and mode not in ALLOWED["arp_interval"]:
                continue  # only beside the interval
            said = monitor if option.startswith("arp_") and option != "arp_all_targets" else {"miimon": "100"}
            options = {"mode": mode, **said, option: VALUES[option].lstrip("+")}
            texts.append(f"{before}\n[bond]\n" + "".join(f"{key}={value}\n" for key, value in options.items()))
    for text, (kept, refusal) in zip(texts, read_back(lab_host, texts), strict=True):
        assert (not_kept(text, kept), refusal) == ([], ""), text


def test_any_value_is_read_back(lab_host: LabHost) -> None:
    """No inventory has such values; their escapes are GLib's own all the same."""
    values = ["a\\b", " a", "  a b", "a\\nb", "a;b#c=d"]
    texts = [f"[connection]\nid={escaped(value)}\nuuid={UUID}\ntype=ethernet\n" for value in values]
    kept = [parsed(kept)["connection"]["id"] for kept, _ in read_back(lab_host, texts)]
    assert kept == [escaped(value) for value in values]


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
