"""What is put back while a host starts: the files of what a reboot cut off or left unconfirmed, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.applier.folder import IFCFG, SYSCTL, applier_module
from tests.applier.test_confirm import LONG, Armed, image, killed, planted

__all__ = ["image"]
START = ("rollback", "--at-start")


def rebooted(image: Armed) -> None:
    """Have what is remembered be of an earlier start of the host."""
    image.end_waiting()
    folder = image.root / "var/lib/kvmgen"
    for path in (folder / "state.json", folder / "journal.json"):
        if path.exists():
            data: dict[str, Any] = json.loads(path.read_text())
            for part in (data.get("unconfirmed"), data.get("course")):
                if part:
                    part["boot"] = "another"
            path.write_text(json.dumps(data))


def test_what_nobody_confirmed_is_put_back(image: Armed) -> None:
    image.write(SYSCTL, b"mine\n", 0o600)
    image.apply("--adopt", SYSCTL, "--confirm-within", LONG)
    rebooted(image)
    assert "nobody confirmed generation 1 before the reboot" in image.expect(0, *START)
    assert (image.read(SYSCTL), (image.root / IFCFG).exists()) == (b"mine\n", False)
    assert [row["why"] for row in image.as_json(0, "history")] == ["apply", "nobody confirmed"]
    image.expect(0, *START)


def test_nothing_is_put_back_while_the_host_is_up(image: Armed) -> None:
    image.apply("--confirm-within", LONG)
    image.expect(0, *START)
    assert image.has_all()
    image.expect(0, "confirm")
    rebooted(image)
    image.expect(0, *START)
    assert image.has_all()


def test_what_was_cut_off_is_put_back(image: Armed, tmp_path: Path) -> None:
    applier = image.applier
    image.applier = planted(tmp_path, "            healthy()\n", "            os.killpg(0, signal.SIGKILL)\n")
    killed(image)
    image.applier = applier
    assert image.has_all()
    rebooted(image)
    image.expect(0, *START)
    assert image.has_none()
    assert not (image.root / "var/lib/kvmgen/journal.json").exists()


@pytest.mark.parametrize(("masters", "moved"), [({}, True), ({"vnet0": "br0"}, False), ({"vnet0": "br1"}, False)])
def test_a_port_that_is_on_a_bridge_stays_there(masters: dict[str, str], moved: bool, tmp_path: Path) -> None:
    applier, asked = applier_module(), []

    class Machine:
        def run(self, argv: tuple[str, ...]) -> None:
            asked.append(argv)

    for name in ("vnet0", "br0", "br1"):
        (tmp_path / name).mkdir()
    for port, bridge in masters.items():
        (tmp_path / port / "master").symlink_to(tmp_path / bridge)
    applier._sys = lambda link, name="": str(tmp_path / link / name)
    applier.Course(Machine(), [], applier.STILL)._plug_in("vnet0", "br0", False, None)
    assert bool(asked) is moved
