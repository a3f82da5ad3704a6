"""The command: exit codes, streams, and the same bytes whatever is around it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.models import CommandInfo

from kvmgen import __version__, pipeline
from tests.sites import EXAMPLE, ROOT, SMALL, tree, write

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # typer's, about what the next click will lack
    from kvmgen import cli

GENERATOR = ROOT / "generator"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the small inventory, as the current folder."""
    write(tmp_path / "inventory", SMALL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["kvmgen", *map(str, arguments)])
        patch.setattr(cli, "_leave", sys.exit)
        with pytest.raises(SystemExit) as raised:
            cli.main()
    assert isinstance(raised.value.code, int)
    return raised.value.code, out.getvalue(), err.getvalue()


def started(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kvmgen", *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(GENERATOR), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# Exit codes and streams.


def test_build_check_build(site: Path) -> None:
    """0 where all is up to date, 1 where it isn't; results on stdout."""
    code, out, err = run("build", "--check")
    assert code == 1
    assert "error KV035: output isn't what the inventory says: files " in err
    assert err.endswith("\n  hint: Run `kvmgen build` and commit what it changes.\n1 error\n")
    assert "would write output/kvm1/manifest.json\n" in out
    assert not (site / "output").exists()

    code, out, err = run("build")
    assert (code, err) == (0, "")
    assert "\nwrite output/kvm2/manifest.json\n" in out
    assert out.endswith(" files changed, 0 unchanged.\n")
    before = tree(site)

    for arguments in (("build", "--check"), ("build",)):
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        assert re.fullmatch(r"Up to date: \d+ files\.\n", out)
    (site / "inventory/guests/web1.yaml").unlink()
    before = tree(site)
    code, out, err = run("build", "--check")
    assert code == 1
    assert "would remove output/kvm1/libvirt/domains/web1.xml\n" in out
    assert tree(site) == before


def test_a_wrong_site(site: Path) -> None:
    """1; what is wrong goes to stderr, sorted, with place and hint; nothing is written."""
    (site / "inventory/guests/web2.yaml").write_text("hosts: [kvm3]\nmemory: 2\n")
    (site / "inventory/hosts/kvm1.yaml").write_text("platform: el7\nbridge: {}\n")
    for command in ("validate", "build"):
        code, out, err = run(command)
        assert (code, out) == (1, "")
        lines = err.splitlines()
        assert lines[:2] == [
            "inventory/guests/web2.yaml:2:9: error KV010: memory is 2, but must be a string",
            '  hint: An amount with its unit: KiB, MiB, GiB or TiB. A bare number is an error. For example: "2 GiB".',
        ]
        assert lines[2].startswith("inventory/hosts/kvm1.yaml:2:1: error KV011: ")
        assert lines[-1] == f"{err.count(': error ')} errors"
        assert not (site / "output").exists()


def test_warnings_stop_nothing(site: Path) -> None:
    (site / "inventory/hosts/kvm3.yaml").write_text("platform: el7\nbridges: {virbr3: {}}\n")
    code, out, err = run("validate")
    assert (code, out) == (0, "Valid: 3 hosts, 1 guest.\n")
    assert "warning KV201" in err
    assert err.endswith("1 warning\n")


def test_no_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("validate")
    assert (code, out) == (1, "")
    assert "error KV007: there is no site.yaml in inventory" in err


@pytest.mark.parametrize(
    "arguments", [["bild"], ["build", "--chekc"], ["build", "extra"], ["build", "-i"], ["explain"], []]
)
def test_called_wrongly(arguments: list[str]) -> None:
    result = started(*arguments)
    assert result.returncode == 2
    assert re.search("Usage: |Error", result.stderr + result.stdout)


def test_a_bug_is_told_as_one(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3, with what to report."""

    def broken(_: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "validate", broken)
    code, out, err = run("validate")
    assert (code, out) == (3, "")
    assert "ZeroDivisionError" in err
    assert err.endswith("This is a bug in kvmgen: please report it with the lines above.\n")


def test_version_help_and_completion() -> None:
    assert started("--version").stdout == f"kvmgen {__version__}\n"
    for arguments in (["--help"], ["-h"], ["build", "-h"]):
        assert started(*arguments).returncode == 0
    script = f'"{sys.executable}" -m kvmgen --show-completion; exit $?'  # the shell is found out by who started it
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(GENERATOR)}
    completion = subprocess.run(["bash", "-c", script], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert "=complete_bash" in completion.stdout


@pytest.mark.parametrize("command", cli.app.registered_commands, ids=lambda command: command.callback.__name__)
def test_every_argument_and_option_is_told_in_the_help(command: CommandInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert command.callback
    hints = get_type_hints(command.callback, include_extras=True)
    told = [parameter.help for hint in hints.values() for parameter in getattr(hint, "__metadata__", ())]
    assert len(told) == len(hints) - ("return" in hints)
    _, out, _ = run(command.callback.__name__.replace("_", "-"), "--help")
    printed = re.sub(r"[\W_]+", "", out)
    assert [text for text in told if not text or re.sub(r"[\W_]+", "", text) not in printed] == []


def test_one_host(site: Path) -> None:
    assert run("build", "--host", "kvm2")[0] == 0
    assert [path.name for path in (site / "output").iterdir()] == ["kvm2"]
    code, _, err = run("build", "--host", "kvm9")
    assert code == 1
    assert "there is no host 'kvm9'" in err
    assert "kvm1, kvm2" in err


def test_nothing_that_a_terminal_would_obey(site: Path) -> None:
    (site / "inventory/guests/web2.yaml").write_text('"a\\e[31m\\u202e": 1\n')
    (site / "inventory/guests/\x1b[31m.yaml").write_text("hosts: [kvm1]\n")
    code, _, err = run("validate")
    assert code == 1
    assert "KV006" in err
    assert "KV011" in err
    assert "\x1b" not in err
    assert "\u202e" not in err


def test_colour_is_for_terminals(site: Path) -> None:
    (site / "inventory/guests/web2.yaml").write_text("hosts: 1\n")
    assert "\x1b" not in started("validate", cwd=site, FORCE_COLOR="1").stderr


def test_a_closed_pipe_is_no_bug(site: Path) -> None:
    command = [sys.executable, "-m", "kvmgen", "build", "--check"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(GENERATOR)}
    with subprocess.Popen(
        command, cwd=site, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert "bug" not in process.stderr.read()
    assert process.returncode == 1


# explain


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of the example."""
    output = tmp_path_factory.mktemp("example")
    assert pipeline.build(EXAMPLE, output).is_good
    return output


def test_every_file_of_the_output_is_explained(built: Path) -> None:
    """By lines of the inventory that are there, or as kvmgen's own."""
    from kvmgen.explain import origins_of

    result = pipeline.load(EXAMPLE)
    assert result.site is not None
    for path in _files(built):
        lines = origins_of(path, built, result.site, result.sources)
        assert lines, path
        for line in lines:
            if line.endswith("  part of kvmgen") or (line == lines[-1] and line.startswith("why: ")):
                continue
            match = re.fullmatch(r"(\S+):(\d+):(\d+)(  \S+)?", line)
            assert match, line
            text = Path(match[1]).read_text().splitlines()[int(match[2]) - 1]
            assert text[int(match[3]) - 1 :].strip(), line


def test_where_the_platform_decides_it_is_said_why(built: Path) -> None:
    from kvmgen.explain import origins_of

    result = pipeline.load(EXAMPLE)
    assert result.site is not None
    decided = {"link", "firewall", "unit"}
    for host in result.site.hosts.values():
        for entry in json.loads((built / host.name / "manifest.json").read_text())["files"]:
            lines = origins_of(Path(host.name, entry["path"]), built, result.site, result.sources) or []
            assert lines[-1].startswith("why: ") == (entry["kind"] in decided), entry["path"]
            assert entry["kind"] not in decided or f"{host.platform}" in lines[-1] or "el8" in lines[-1]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def test_explain(site: Path) -> None:
    run("build")
    for path in (
        "output/kvm1/libvirt/domains/web1.xml",
        "kvm1/libvirt/domains/web1.xml",
        site / "output/kvm1/libvirt/domains/web1.xml",
    ):
        code, out, err = run("explain", path)
        assert (code, err) == (0, "")
        assert out.startswith("inventory/guests/web1.yaml:1:1\n")
    for path in ("output/kvm1/nothing", "output/kvm9/manifest.json", "/etc/passwd", "output"):
        code, out, err = run("explain", path)
        assert (code, out) == (1, "")
        assert "is not a file that `kvmgen build` makes" in err


# The same bytes.

AROUND: dict[str, dict[str, str]] = {
    "another hash": {"PYTHONHASHSEED": "1"},
    "no hash": {"PYTHONHASHSEED": "0"},
    "random hash": {"PYTHONHASHSEED": "random"},
    "Turkish": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C.UTF-8": {"LC_ALL": "C.UTF-8"},
    "another zone": {"TZ": "Pacific/Kiritimati"},
    "a narrow terminal": {"COLUMNS": "20", "TERM": "dumb"},
}


@pytest.mark.parametrize("environment", AROUND.values(), ids=AROUND)
def test_the_same_bytes_in_every_environment(built: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """From a copy of the inventory under another path, started elsewhere."""
    shutil.copytree(EXAMPLE, tmp_path / "a site" / "other-name")
    result = started("build", "-i", "../a site/other-name", "-o", "out", cwd=_folder(tmp_path / "cwd"), **environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert tree(tmp_path / "cwd/out") == tree(built)


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_the_committed_output_is_up_to_date() -> None:
    result = started("build", "--check")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout


# What is shipped.


def test_the_wheel_is_complete_and_runs(built: Path, tmp_path: Path) -> None:
    """Schemas and filters are in it; installed somewhere and started elsewhere it builds the same."""
    source = _folder(tmp_path / "source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for name in ("generator", "schemas"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    wheel = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(source),
    ]
    subprocess.run(wheel, check=True, capture_output=True, timeout=120)
    (file,) = (tmp_path / "dist").iterdir()
    install = [*pip, "install", "--no-index", "--no-deps", "--target", str(tmp_path / "lib"), str(file)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)

    installed = tmp_path / "lib/kvmgen"
    assert {path.name for path in (ROOT / "schemas").iterdir()} == {
        path.name for path in (installed / "schemas").iterdir()
    }
    own = "inventory/own_filters"
    assert {path.name for path in (GENERATOR / "kvmgen" / own).iterdir()} == {
        path.name for path in (installed / own).iterdir()
    }
    result = started("build", "-i", EXAMPLE, "-o", tmp_path / "out", cwd=tmp_path, PYTHONPATH=str(tmp_path / "lib"))
    assert (result.returncode, result.stderr) == (0, "")
    assert tree(tmp_path / "out") == tree(built)
