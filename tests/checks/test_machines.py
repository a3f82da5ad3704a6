"""What a platform's table of machine types says where no inventory can show it."""

from __future__ import annotations

import pytest

from kvmgen.model.platform import Platform

PLATFORMS = ["el6", "el7", "el7.9", "el8", "el8.10", "el9", "el9.6", "el10", "el10.1"]


@pytest.mark.parametrize("text", PLATFORMS)
def test_a_platform_knows_what_it_gives(text: str) -> None:
    platform = Platform.parse(text)
    given = [platform.machine(chipset) for chipset in ("pc", "q35")]
    assert all(platform.knows_machine(machine) for machine in given if machine)


@pytest.mark.parametrize(
    ("text", "machine", "known"),
    [
        ("el6", "rhel6.6.0", True),
        ("el6", "pc-i440fx-rhel7.0.0", False),
        ("el7.9", "rhel6.6.0", True),
        ("el7.9", "pc-i440fx-rhel7.6.0", False),
        ("el8.6", "pc-i440fx-rhel7.0.0", True),
        ("el8.6", "pc-q35-rhel8.8.0", False),
        ("el8.8", "pc-q35-rhel8.8.0", True),
        ("el8", "pc-q35-rhel8.2.0", False),
        ("el9", "pc-i440fx-rhel7.5.0", False),
        ("el9.4", "pc-q35-rhel8.6.0", True),
        ("el9.4", "pc-q35-rhel9.6.0", False),
        ("el10", "pc-i440fx-rhel7.6.0", False),
        ("el9.4", "pc-q35-7.2", False),
    ],
)
def test_each_release_up_to_its_own(text: str, machine: str, known: bool) -> None:
    assert Platform.parse(text).knows_machine(machine) is known
