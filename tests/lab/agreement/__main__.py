"""`python -m tests.lab.agreement`: what kvmgen predicts against what a kernel does, for an inventory's hosts.

One scenario by hand: `--host kvm-ovirt --pair outside ovirt01 --tcp 22 --keep` sends one probe each way, prints both
answers with their traces, says how to enter the machines, and waits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.lab.agreement.comparison import Figures, Wish, compare_host, hosts_of
from tests.lab.agreement.inventories import read, write
from tests.lab.agreement.machines import Stage
from tests.lab.agreement.random_sites import HOST, write_site
from tests.lab.agreement.shrinking import smallest
from tests.lab.agreement.traffic import Service
from tests.real.packets import INVENTORY

REGRESSIONS = Path(__file__).parents[1] / "regressions"


def main() -> int:
    """Run the comparison; 1 where kernel and prediction disagree."""
    wanted = _arguments()
    wish = Wish(
        seed=wanted.seed,
        sample=wanted.sample,
        between=wanted.pair or (),
        service=_service(wanted),
        at_home=True,
    )
    if wanted.random:
        return _random(wanted.seed, wanted.random, wanted.show)
    total = Figures()
    for host in wanted.host or hosts_of(wanted.inventory):
        figures = compare_host(wanted.inventory, host, wish, _look if wanted.keep else None)
        print(f"{host}: {figures}", flush=True)
        for disagreement in figures.disagreed[: wanted.show]:
            print(disagreement)
        total.add(figures)
    for why, count in total.unknown.most_common():
        print(f"unknown, {count}: {why}")
    for why, count in total.at_home.most_common():
        print(f"unknown on a host of its own release, {count}: {why}")
    print(f"all: {total}; on hosts of their own releases {total.share(total.at_home)} would be unknown")
    return 1 if total.disagreed else 0


def _random(seed: int, count: int, show: int) -> int:
    """Random sites, the seeds counted up; one of which kernel and kvmgen disagree is made small and kept for good."""
    total, made = Figures(), 0
    for number in range(seed, seed + count):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch, "inventory")
            if not write_site(number, folder):
                continue
            figures = compare_host(folder, HOST, Wish(seed=number))
            made += 1
            print(f"seed {number}: {figures}", flush=True)
            if figures.disagreed:
                print(*map(str, figures.disagreed[:show]), sep="\n", flush=True)
                kept = REGRESSIONS / f"seed-{number}"
                write(smallest(read(folder), figures.disagreed[0]), kept)
                print(f"a small site of which the first is true is kept in {kept}", flush=True)
        total.add(figures)
    print(f"{made} sites: {total}")
    return 1 if total.disagreed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.agreement", description=__doc__)
    parser.add_argument("--host", action="append", help="only this host; may be given several times")
    parser.add_argument("--inventory", type=Path, default=INVENTORY)
    parser.add_argument("--seed", type=int, default=0, help="of the sample and of the ports that nobody names")
    parser.add_argument("--sample", type=int, help="so many probes a host; all of them by default")
    parser.add_argument("--random", type=int, metavar="COUNT", help="random sites in place of the inventory")
    parser.add_argument("--pair", nargs=2, metavar="NAME", help="only between these two")
    parser.add_argument("--tcp", type=int, metavar="PORT")
    parser.add_argument("--udp", type=int, metavar="PORT")
    parser.add_argument("--ping", action="store_true")
    parser.add_argument("--show", type=int, default=20, help="so many disagreements a host in full")
    parser.add_argument("--keep", action="store_true", help="keep the host up, say how to look at it, wait for Enter")
    return parser.parse_args()


def _service(wanted: argparse.Namespace) -> Service | None:
    if wanted.ping:
        return Service("icmp")
    if wanted.tcp is not None:
        return Service("tcp", wanted.tcp)
    return None if wanted.udp is None else Service("udp", wanted.udp)


def _look(stage: Stage, figures: Figures) -> None:
    """Tell both answers where they are few, say how to get into the machines, and wait."""
    for compared in figures.asked:
        print(compared)
    for machine in stage.machines:
        print(f"{machine.name} ({machine.kind}): {' '.join(stage.lab.command('bash', netns=machine.shell))}")
    with suppress(EOFError):
        input("Enter ends it. ")


if __name__ == "__main__":
    sys.exit(main())
