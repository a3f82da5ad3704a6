"""cloud-init's own code over many seeds at once, as Debian's Python runs it; unpacked, not installed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from tests.real.items import Item, Refusal
from tests.sites import ROOT

LONG = 120.0

READ = """
import io, json, logging, sys, tempfile
from cloudinit import util
from cloudinit.distros.rhel import Distro
from cloudinit.net import network_manager, network_state, sysconfig
for text in json.load(sys.stdin):
    said = io.StringIO()
    logging.basicConfig(stream=said, level=logging.WARNING, force=True)
    try:
        data = util.load_yaml(text)
        if "ethernets" in data:
            state = network_state.parse_net_config_data(data, skip_broken=False)
            with tempfile.TemporaryDirectory() as folder:
                network_manager.Renderer().render_network_state(state, target=folder)
                sysconfig.Renderer(Distro.renderer_configs["sysconfig"]).render_network_state(state, target=folder)
    except Exception as error:
        said.write(repr(error))
    print(json.dumps(said.getvalue()))
"""


@cache
def modules() -> str:
    """The folder of cloud-init's modules."""
    done = subprocess.run(ROOT / "tests/lab/fetch-cloud-init", capture_output=True, text=True, check=True, timeout=LONG)
    return done.stdout.strip()


def cloud_init(*words: str | Path, stdin: str = "") -> str:
    """What Debian's Python prints, with cloud-init at hand."""
    environment = {**os.environ, "PYTHONPATH": modules(), "PYTHONDONTWRITEBYTECODE": "1"}
    argv = ("/usr/bin/python3", *map(str, words))
    done = subprocess.run(argv, env=environment, input=stdin, capture_output=True, text=True, check=False, timeout=LONG)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def read(found: Sequence[Item]) -> Iterator[Refusal]:
    """Load each file of a seed, and have both renderers of the EL family make files of each network."""
    printed = cloud_init("-c", READ, stdin=json.dumps([item.artifact.text for item in found])).splitlines()
    assert len(printed) == len(found)
    for item, line in zip(found, printed, strict=True):
        if said := json.loads(line):
            yield Refusal(item, said)
