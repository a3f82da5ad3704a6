"""Time builds of synthetic sites side by side with a Jinja2 script: ``python -m tests.bench [--quick]``.

Both run as processes of their own and write to the same memory file system, in turn, into folders made anew. Shown are
medians of wall-clock seconds, the processor time of all processes of a run, and the largest sum of proportional memory
(PSS) that its processes had together. It judges nothing: the targets stand beside the figures. How busy
the machine was otherwise is told at the end: that costs a build on every core more than a script on one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.site import GUESTS_A_HOST, write_repeated, write_site

HERE = Path(__file__).parent
EXAMPLE = str(HERE.parents[1] / "inventory")
MEMORY = Path("/dev/shm")
SAMPLE = 0.02
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
"""Whoever installs a program gets its modules compiled; a checkout's are compiled by the first run."""


@dataclass(frozen=True)
class Run:
    """One process and its children: seconds, and MiB where it was sampled."""

    wall: float
    cpu: float
    memory: float


def run(command: Sequence[str], *, sampled: bool = False) -> Run:
    """Run a command to its end; sampling memory costs it a little time, so that isn't done while it counts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, process_group=0, env=ENVIRONMENT) as process:
        memory = max(_samples(process), default=0.0) if sampled else 0.0
        code = process.wait()  # without a time limit, which would be kept by sleeping
    wall = time.perf_counter() - start
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, memory)


def _samples(process: subprocess.Popen[bytes]) -> Iterator[float]:
    while process.poll() is None:
        yield sum(_pss(pid) for pid in _family(process.pid)) / 1024
        time.sleep(SAMPLE)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _pss(pid: int) -> int:
    """A process's proportional share of memory in KiB; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder in memory that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="kvmgen-bench-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@dataclass
class Site:
    """A synthetic site with the commands that are timed on it."""

    folder: Path
    guests: int
    write: Callable[[Path, int], int] = write_site

    def __post_init__(self) -> None:
        """Write the inventory."""
        self.inventory = self.folder / f"inventory-{self.guests}"
        self.output = self.folder / f"output-{self.guests}"
        self.files = self.write(self.inventory, self.guests)

    def kvmgen(self, *words: str) -> list[str]:
        paths = ("--inventory", str(self.inventory), "--output", str(self.output))
        return [sys.executable, "-m", "kvmgen", "build", *paths, *words]

    @property
    def validate(self) -> list[str]:
        return [sys.executable, "-m", "kvmgen", "validate", "--inventory", str(self.inventory)]

    @property
    def diff(self) -> list[str]:
        return [sys.executable, "-m", "kvmgen", "diff", "--inventory", str(self.inventory)]

    def committed(self) -> None:
        """Have the inventory in a repository of its own."""
        who = ("-c", "user.name=bench", "-c", "user.email=bench@example.org")
        for words in (("init", "--quiet"), ("add", "."), (*who, "commit", "--quiet", "--message", "A site")):
            subprocess.run(["git", "-C", self.inventory, *words], check=True)

    def changed(self, old: str, new: str) -> None:
        """Have one guest say something else than was committed."""
        subprocess.run(["git", "-C", self.inventory, "checkout", "--quiet", "--", "."], check=True)
        guest = self.inventory / "guests/g00105.yaml"
        guest.write_text(guest.read_text().replace(old, new))

    @property
    def reach(self) -> list[str]:
        return [sys.executable, "-m", "kvmgen", "reach", "--inventory", str(self.inventory)]

    @property
    def matrix(self) -> list[str]:
        return [*self.reach, "--matrix"]

    @property
    def jinja(self) -> list[str]:
        return [sys.executable, str(HERE / "jinja_script.py"), str(self.inventory), str(self.output)]

    def fresh(self, command: Sequence[str], *, sampled: bool = False) -> Run:
        shutil.rmtree(self.output, ignore_errors=True)
        return run(command, sampled=sampled)

    def written(self) -> str:
        files = [path for path in self.output.rglob("*") if path.is_file()]
        return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB"


def in_turn(runs: int, *tasks: Callable[[], Run]) -> list[Run]:
    """Each task so many times, in turn; the medians."""
    rounds = [[task() for task in tasks] for _ in range(runs)]
    return [
        Run(*(statistics.median(values) for values in zip(*map(_figures, column), strict=True)))
        for column in zip(*rounds, strict=True)
    ]


def _figures(one: Run) -> tuple[float, float, float]:
    return one.wall, one.cpu, one.memory


def show(what: str, figure: Run, ratio: str = "") -> None:
    print(f"{what:44} {figure.wall:8.2f} s {figure.cpu:8.2f} s cpu   {ratio}")


def beside_jinja(site: Site, runs: int) -> None:
    target = " (target 0.5)" if site.guests >= 2000 else ""
    print(f"\n{site.guests} guests, {site.files} inventory files, fresh output")
    ours, theirs = in_turn(runs, lambda: site.fresh(site.kvmgen()), lambda: site.fresh(site.jinja))
    site.fresh(site.kvmgen())
    our_files = site.written()
    site.fresh(site.jinja)
    show(f"Jinja2 script ({site.written()})", theirs)
    show(f"kvmgen build ({our_files})", ours, f"{ours.wall / theirs.wall:.2f} of the script's time{target}")


def by_size(small: Site, large: Site, runs: int) -> None:
    target = " (target 5.5)" if large.guests == 5 * small.guests else ""
    print(f"\nfrom {small.guests} to {large.guests} guests, fresh output")
    few, many = in_turn(runs, lambda: small.fresh(small.kvmgen()), lambda: large.fresh(large.kvmgen()))
    show(f"kvmgen build, {small.guests} guests", few)
    show(f"kvmgen build, {large.guests} guests", many, f"{many.wall / few.wall:.2f} times{target}")
    memory = large.fresh(large.kvmgen(), sampled=True).memory
    print(f"{'  memory of all its processes, at most':44} {memory:8.0f} MiB  (target 500 MB)")


def when_up_to_date(site: Site, runs: int) -> None:
    print(f"\n{site.guests} guests, output up to date")
    site.fresh(site.kvmgen())
    again, check = in_turn(runs, lambda: run(site.kvmgen()), lambda: run(site.kvmgen("--check")))
    show("kvmgen build", again)
    show("kvmgen build --check", check, f"{check.wall / again.wall:.2f} of build (target: no slower)")


def validating(small: Site, large: Site, runs: int) -> None:
    print(f"\nvalidate, from {small.guests} to {large.guests} guests")
    small.fresh(small.kvmgen())
    few, many, build = in_turn(
        runs, lambda: run(small.validate), lambda: run(large.validate), lambda: run(small.kvmgen("--check"))
    )
    show(f"kvmgen build --check, {small.guests} guests", build)
    show(f"kvmgen validate, {small.guests} guests", few, f"{few.wall / build.wall:.2f} of build --check")
    show(f"kvmgen validate, {large.guests} guests", many, f"{many.wall / few.wall:.2f} times")
    steps = {site.guests: _steps(site, runs) for site in (small, large)}
    for guests, took in steps.items():
        show(f"  reading, {guests} guests", took["read"])
        ratio = f"{took['check'].cpu / took['read'].cpu:.2f} of reading's processor time (target 1)"
        show(f"  checking, {guests} guests", took["check"], ratio)
    growth = steps[large.guests]["check"].cpu / steps[small.guests]["check"].cpu
    print(f"{'  the checks grow':44} {growth:8.2f} times, the site {large.guests / small.guests:.2f} times")


def _steps(site: Site, runs: int) -> dict[str, Run]:
    """The medians of what reading and checking a site take."""
    command = [sys.executable, str(HERE / "steps.py"), str(site.inventory)]
    taken: list[dict[str, dict[str, float]]] = [
        json.loads(subprocess.check_output(command, env=ENVIRONMENT)) for _ in range(runs)
    ]

    def median(step: str, clock: str) -> float:
        return statistics.median(one[step][clock] for one in taken)

    return {step: Run(wall=median(step, "wall"), cpu=median(step, "cpu"), memory=0) for step in ("read", "check")}


def differing(small: Site, large: Site, runs: int) -> None:
    """One guest changed since the last commit: its memory, and then an address, which packets are asked about for."""
    print(f"\ndiff of one changed guest, from {small.guests} to {large.guests} guests")
    for site in (small, large):
        site.committed()
    for what, old, new in (("memory", "memory: 2 GiB", "memory: 3 GiB"), ("an address", "/16]", "/16, 10.99.0.1/16]")):
        for site in (small, large):
            site.changed(old, new)
        few, many, validate = in_turn(
            runs, lambda: run(small.diff), lambda: run(large.diff), lambda: run(large.validate)
        )
        show(f"kvmgen diff, {what}, {small.guests} guests", few)
        ratio = f"{many.wall / few.wall:.2f} times, {many.wall / validate.wall:.2f} of validate"
        show(f"kvmgen diff, {what}, {large.guests} guests", many, ratio)
    few, many, page = in_turn(
        1,
        lambda: run([*small.reach, "--diff", "HEAD"]),
        lambda: run([*large.reach, "--diff", "HEAD"]),
        lambda: run([*large.diff, "--format", "html"]),
    )
    show(f"kvmgen reach --diff, an address, {small.guests} guests", few)
    show(f"kvmgen reach --diff, an address, {large.guests} guests", many, f"{many.wall / few.wall:.2f} times, once")
    show(f"kvmgen diff --format html, {large.guests} guests", page, "once")
    for site in (small, large):
        site.changed("", "")


def who_reaches_whom(small: Site, large: Site, runs: int) -> None:
    print(f"\nwho reaches whom, every pair on every named service, from {small.guests} to {large.guests} guests")
    few, many = in_turn(runs, lambda: run(small.matrix), lambda: run(large.matrix))
    show(f"kvmgen reach --matrix, {small.guests} guests", few)
    growth = f"{many.wall / few.wall:.2f} times, the site {large.guests / small.guests:.2f} times"
    show(f"kvmgen reach --matrix, {large.guests} guests", many, growth)


def start_up(runs: int) -> None:
    print("\nstart-up")
    version, example = (
        [sys.executable, "-m", "kvmgen", *words] for words in (["--version"], ["validate", "-i", EXAMPLE])
    )
    bare, ours, site = in_turn(
        runs, lambda: run([sys.executable, "-c", "pass"]), lambda: run(version), lambda: run(example)
    )
    show("python -c pass", bare)
    show("kvmgen --version", ours, f"{ours.wall / bare.wall:.1f} times the bare interpreter (target 8)")
    show("kvmgen validate, the example site", site, f"{site.wall / bare.wall:.1f} times (target 15)")


def main() -> None:
    """Run the benchmark and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a site of 200 guests, once: whether it still works")
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (default: 5)")
    words = parser.parse_args()
    sizes, runs = ((200, 400), 1) if words.quick else ((2000, 10_000), words.runs)
    print(f"{os.cpu_count()} processors, medians of {runs}")
    start, busy = time.perf_counter(), busy_elsewhere()
    with workplace() as folder:
        ENVIRONMENT["PYTHONPYCACHEPREFIX"] = str(folder / "modules")
        warm_up(Site(folder, GUESTS_A_HOST))
        sites = [Site(folder, guests) for guests in ((200, *sizes) if not words.quick else sizes)]
        for site in sites[:-1]:
            beside_jinja(site, runs)
        by_size(sites[-2], sites[-1], runs)
        when_up_to_date(sites[-2], runs)
        validating(sites[-2], sites[-1], runs)
        who_reaches_whom(sites[0] if words.quick else Site(folder, 1000), sites[-1], runs)
        print("\nthe same networks and addresses on every host")
        few, many = (Site(folder / "repeated", guests, write_repeated) for guests in (sizes[0] // 2, sizes[-1]))
        who_reaches_whom(few, many, runs)
        differing(sites[-2], sites[-1], runs)
        start_up(runs)
    share = (busy_elsewhere() - busy) / (time.perf_counter() - start)
    print(f"\nother processes kept {max(share, 0):.2f} processors busy meanwhile")


def warm_up(site: Site) -> None:
    """Have the modules of both compiled before anything counts."""
    site.fresh(site.kvmgen())
    site.fresh(site.jinja)


def busy_elsewhere() -> float:
    """The processor seconds of everything but this process and its ended children since the machine started."""
    user, nice, system, _idle, _iowait, *interrupts = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    ours = sum(os.times()[:4])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - ours


if __name__ == "__main__":
    main()
