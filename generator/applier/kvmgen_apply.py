#!/usr/bin/python3 -I
"""Make this host equal to its folder of kvmgen's output, or put it back.

One file, standard library only, Python 3.6 and later. The contract with kvmgen is the manifest beside the files; what
a manifest once put on the host is changed and removed, and nothing else.

Everything is an item, a file or an object of libvirt, and an item can do four things: say what is there (a snapshot),
say how that differs from what is wanted, put what is wanted, and restore a snapshot. An apply is a transaction over
items: the snapshots of all that will be touched are on disk before the first one is touched, and whatever fails, or
kills this program, the snapshots are restored, at once or when it is started next.
"""

import argparse
import base64
import difflib
import errno
import fcntl
import hashlib
import json
import logging
import logging.handlers
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
from xml.etree import ElementTree

VERSION = "0.1.0"
FORMAT = 1  # of the manifest

DONE, FAILED, MISUSED, PENDING, ROLLED_BACK, STUCK, DEFECT = range(7)
"""Exit codes: nothing to do or done; failed before anything changed; called wrongly; changes pending; failed and rolled
back; the rollback failed; a bug."""

TIMEOUT = 60  # seconds that any one command may take
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
log = logging.getLogger("kvmgen-apply")


class Problem(Exception):
    """Something that stops a command; its text says what, and what to do."""

    code = FAILED


class Misused(Problem):
    """The command was called wrongly."""

    code = MISUSED


class RolledBack(Problem):
    """An apply failed, and the host is what it was before."""

    code = ROLLED_BACK


class Stuck(Problem):
    """A rollback failed: the host is neither what it was nor what it should be."""

    code = STUCK


# -- the host ----------------------------------------------------------------------------------------------------------


class Host:
    """The machine, or an image below ``root``; libvirt at ``connect``."""

    def __init__(self, root="/", connect="qemu:///system", timeout=TIMEOUT):
        self.root = os.path.abspath(root)
        self.connect = connect
        self.timeout = timeout

    @property
    def is_live(self):
        """Whether it runs, so that services can be told of changes."""
        return self.root == "/"

    def path(self, name):
        """The place of a path of the manifest; refused where it would leave the root."""
        path = os.path.join(self.root, name)
        parent = os.path.realpath(os.path.dirname(path))
        if os.path.commonpath([self.root, parent]) != self.root:
            raise Problem("%s leads out of %s: mend that link first" % (name, self.root))
        return path

    def run(self, argv, text="", check=True):
        """Run a program to its end; its output, or a problem where it fails or takes too long."""
        environment = {"PATH": os.environ.get("PATH", PATH), "LC_ALL": "C", "HOME": "/root"}
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise Problem("%s can't be run: %s" % (argv[0], error.strerror))
        try:
            out, err = process.communicate(text.encode(), self.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise Problem("%s gave no answer within %s s" % (" ".join(argv[:4]), self.timeout))
        said = err.decode(errors="replace").strip()
        if check and process.returncode:
            raise Problem("%s: %s" % (" ".join(argv[:5]), said or "failed with %d" % process.returncode))
        return process.returncode, out.decode(errors="replace")

    def virsh(self, *words, **options):
        """Run a command of virsh."""
        return self.run(("virsh", "--quiet", "--connect", self.connect, *words), **options)

    def has(self, program):
        """Whether a program is installed."""
        return shutil.which(program, path=os.environ.get("PATH", PATH)) is not None


# -- writing so that a power cut leaves the old or the new -------------------------------------------------------------


def sync_folder(folder):
    """Have a folder's entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder):
    """Make a folder and those above it, on disk."""
    if not os.path.isdir(folder):
        make_folders(os.path.dirname(folder))
        os.mkdir(folder, 0o755)
        sync_folder(os.path.dirname(folder))


def replace_file(path, content, mode=0o600, owner=(0, 0)):
    """Write a file whole or not at all.

    The temporary file ends in ``.rpmsave``, which initscripts, sysctl and firewalld all pass over.
    """
    folder = os.path.dirname(path)
    make_folders(folder)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".kvmgen-", suffix=".rpmsave")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), *owner)
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def remove_file(path):
    """Remove a file, on disk."""
    if os.path.lexists(path):
        os.unlink(path)
        sync_folder(os.path.dirname(path))


def write_json(path, data):
    """Write data whole or not at all."""
    replace_file(path, (json.dumps(data, indent=1, sort_keys=True) + "\n").encode())


def read_json(path, absent=None):
    """Data that `write_json` wrote; ``absent`` where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return absent
    except ValueError as error:
        raise Problem("%s is damaged (%s): restore it from a backup" % (path, error))


# -- the folder and its manifest ---------------------------------------------------------------------------------------

_PATH = re.compile(r"(etc|libvirt|guests)(/[A-Za-z0-9_@+=:-][A-Za-z0-9_.@+=:-]*)+")


class Folder:
    """A folder of kvmgen's output for this host, verified as a whole before anything else is done with it."""

    def __init__(self, folder):
        self.folder = folder
        self.manifest = self._manifest()
        self.entries = {entry["path"]: entry for entry in self.manifest["files"]}
        self.contents = {path: self._content(entry) for path, entry in self.entries.items()}
        self._refuse_what_isnt_named()

    @property
    def host(self):
        """The name of the host that it is for."""
        return self.manifest["host"]

    @property
    def digest(self):
        """What tells two folders apart."""
        text = json.dumps(self.manifest, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _manifest(self):
        manifest = read_json(os.path.join(self.folder, "manifest.json"))
        if manifest is None:
            raise Problem("%s has no manifest.json: name a host's folder of the output" % self.folder)
        try:
            if manifest["generator"] != "kvmgen" or manifest["format"] != FORMAT:
                raise Problem("the manifest is of another format: this program reads kvmgen's format %d" % FORMAT)
            for entry in manifest["files"]:
                if not _PATH.fullmatch(entry["path"]) or not re.fullmatch("0[0-7]{3}", entry["mode"]):
                    raise Problem("the manifest names %r, which no file of kvmgen's is" % entry["path"])
        except (KeyError, TypeError):
            raise Problem("the manifest lacks what every manifest has: build the output again")
        return manifest

    def _content(self, entry):
        path = os.path.join(self.folder, entry["path"])
        for part in _ways_to(entry["path"]):
            if os.path.islink(os.path.join(self.folder, part)):
                raise Problem("%s is a link: an output has none" % part)
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except OSError as error:
            raise Problem("%s can't be read: %s" % (entry["path"], error.strerror))
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise Problem("%s isn't what the manifest says: build the output again" % entry["path"])
        return content

    def _refuse_what_isnt_named(self):
        for folder, _, files in os.walk(self.folder):
            for name in files:
                path = os.path.relpath(os.path.join(folder, name), self.folder)
                if path not in self.entries and path not in ("manifest.json", "manifest.json.sig"):
                    raise Problem("the manifest doesn't name %s: remove it, or build the output again" % path)


def _ways_to(path):
    """A path and every folder on the way to it."""
    while path:
        yield path
        path = os.path.dirname(path)


def unpacked(stream, folder):
    """Unpack a tar archive of a host's folder: plain files and folders only."""
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            name = os.path.normpath(member.name)
            if name.startswith(("..", "/")) or not (member.isfile() or member.isdir()):
                raise Problem("the archive has %r, which no output has" % member.name)
            target = os.path.join(folder, name)
            if member.isdir():
                os.makedirs(target, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as out:
                shutil.copyfileobj(archive.extractfile(member), out)
    return folder


# -- items: files ------------------------------------------------------------------------------------------------------


class FileItem:
    """A file below the root."""

    def __init__(self, host, entry, content):
        self.host = host
        self.kind = entry["kind"]
        self.name = entry["path"]
        self.mode = int(entry["mode"], 8)
        self.content = content

    @property
    def key(self):
        """What it is known by in journals."""
        return self.name

    def snapshot(self):
        """The file that is there, or ``None``."""
        path = self.host.path(self.name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise Problem("%s is there and no plain file: move it away first" % path)
        with open(path, "rb") as stream:
            content = stream.read()
        return {
            "content": base64.b64encode(content).decode(),
            "mode": stat.S_IMODE(status.st_mode),
            "owner": [status.st_uid, status.st_gid],
        }

    def differences(self, snapshot):
        """How the file that is there differs from the one that is wanted: lines, none where it doesn't."""
        before = _text(base64.b64decode(snapshot["content"])) if snapshot else []
        lines = list(difflib.unified_diff(before, _text(self.content), "now", "then", lineterm="", n=1))
        if snapshot and snapshot["mode"] != self.mode:
            lines.append("mode %04o becomes %04o" % (snapshot["mode"], self.mode))
        return lines

    def put(self):
        """Write what is wanted."""
        replace_file(self.host.path(self.name), self.content, self.mode)
        self._label()

    def restore(self, snapshot):
        """Write what was there."""
        path = self.host.path(self.name)
        if snapshot is None:
            remove_file(path)
        else:
            replace_file(path, base64.b64decode(snapshot["content"]), snapshot["mode"], tuple(snapshot["owner"]))
            self._label()

    def remove(self):
        """Remove the file."""
        remove_file(self.host.path(self.name))

    def pending(self):
        """What of it isn't in effect yet; a link's file is read when the link starts."""
        return []

    def _label(self):
        if self.host.is_live and self.host.has("restorecon"):
            self.host.run(("restorecon", self.host.path(self.name)), check=False)


def _digest(snapshot):
    return hashlib.sha256(base64.b64decode(snapshot["content"])).hexdigest()


def _text(content):
    return content.decode(errors="replace").splitlines()


# -- items: libvirt ----------------------------------------------------------------------------------------------------

_IDENTITIES = {
    "channel": ("target", "name"),
    "controller": ("", "type", "index"),
    "disk": ("target", "dev"),
    "filterref": ("", "filter"),
    "forwarder": ("", "domain", "addr"),
    "graphics": ("", "type"),
    "host": ("", "ip"),
    "input": ("", "type", "bus"),
    "interface": ("mac", "address"),
    "ip": ("", "address"),
    "parameter": ("", "name"),
    "portgroup": ("", "name"),
    "range": ("", "start"),
    "route": ("", "address", "prefix"),
    "rule": ("", "action", "direction", "priority"),
    "srv": ("", "service", "protocol", "domain", "target"),
    "timer": ("", "name"),
    "txt": ("", "name"),
}
"""What tells elements of one tag apart: a child's attribute, or attributes of their own."""


def missing(meant, there, way=""):
    """What was meant and isn't there, a line each; what libvirt adds by itself is no difference."""
    way = "%s/%s" % (way, meant.tag)
    for name, value in sorted(meant.attrib.items()):
        if there.get(name) != value:
            yield "%s/@%s is %r, not %r" % (way, name, there.get(name), value)
    text = (meant.text or "").strip()
    if text and text != (there.text or "").strip():
        yield "%s is %r, not %r" % (way, (there.text or "").strip(), text)
    counterparts = {}
    for child in there:
        counterparts.setdefault(_identity(child), []).append(child)
    for child in meant:
        same = counterparts.get(_identity(child))
        if same:
            yield from missing(child, same.pop(0), way)
        else:
            yield "%s/%s is missing: %s" % (way, child.tag, _shown(child))


def _identity(element):
    inner, *names = _IDENTITIES.get(element.tag, ("",))
    holder = element.find(inner) if inner else element
    return (element.tag, *tuple("" if holder is None else holder.get(name, "") for name in names))


def _shown(element):
    return _canonical(element)[:120]


class LibvirtItem:
    """An object of libvirt; the subclasses name virsh's commands for it."""

    define = dump = undefine = names = ""
    kind = ""

    def __init__(self, host, entry, content):
        self.host = host
        defines = entry["defines"]
        self.name = defines["name"]
        self.uuid = defines["uuid"]
        self.autostart = defines.get("autostart")
        self.validate = defines.get("validate", True)
        self.content = content.decode()

    @property
    def key(self):
        """What it is known by in journals."""
        return "%s/%s" % (self.kind, self.name)

    def snapshot(self):
        """The persistent definition that is there and whether it starts by itself, or ``None``."""
        if self.name not in self._names():
            return None
        _, text = self.host.virsh(*((*self.dump, self.name)))
        return {"xml": text, "autostart": self._starts_by_itself()}

    def _names(self):
        return [name for name in self.host.virsh(*self.names)[1].split("\n") if name]

    def _starts_by_itself(self):
        return None

    def differences(self, snapshot):
        """How the definition that is there differs from the one that is wanted."""
        if snapshot is None:
            return ["it isn't defined"]
        there = ElementTree.fromstring(snapshot["xml"])
        uuid = there.findtext("uuid")
        if uuid != self.uuid:
            return ["it has the UUID %s, not %s" % (uuid, self.uuid)]
        lines = list(missing(ElementTree.fromstring(self.content), there))
        if self.autostart is not None and snapshot["autostart"] != self.autostart:
            lines.append("autostart is %s" % ("on" if snapshot["autostart"] else "off"))
        return lines

    def put(self):
        """Define what is wanted."""
        self._define(self.content)
        self._set_autostart(self.autostart)

    def restore(self, snapshot):
        """Define what was there, or nothing where nothing was."""
        if snapshot is None:
            self.remove()
        else:
            self._define(snapshot["xml"], validate=False)
            self._set_autostart(snapshot["autostart"])

    def remove(self):
        """Undefine it."""
        if self.name in self._names():
            self.host.virsh(*((*self.undefine, self.name)))

    def _define(self, text, validate=True):
        words = (self.define, "/dev/stdin")
        if validate and self.validate and self._knows_validate():
            words += ("--validate",)
        self.host.virsh(*words, text=text)

    def _knows_validate(self):
        return "--validate" in self.host.virsh("help", self.define)[1]

    def _set_autostart(self, wanted):
        return None


class FilterItem(LibvirtItem):
    """An nwfilter. Redefining one changes every running guest that uses it at once."""

    kind = "nwfilter"
    define, dump, undefine = "nwfilter-define", ("nwfilter-dumpxml",), ("nwfilter-undefine",)
    names = ("nwfilter-list",)

    def _names(self):
        rows = self.host.virsh(*self.names)[1].split("\n")
        return [row.split(None, 1)[1].strip() for row in rows if row.strip()]

    def pending(self):
        """What of it isn't in effect yet: nothing, ever."""
        return []


_UPDATABLE = (
    ("ip-dhcp-range", "ip", "dhcp/range"),
    ("ip-dhcp-host", "ip", "dhcp/host"),
    ("dns-host", "dns", "host"),
    ("dns-txt", "dns", "txt"),
    ("dns-srv", "dns", "srv"),
    ("portgroup", ".", "portgroup"),
)
"""What ``virsh net-update`` changes on a running network: its word, the parent, and the way from there."""


class NetworkItem(LibvirtItem):
    """A virtual network. What a running one can't take live waits for its next start."""

    kind = "network"
    define, dump, undefine = "net-define", ("net-dumpxml", "--inactive"), ("net-undefine",)
    names = ("net-list", "--all", "--name")

    def _starts_by_itself(self):
        return self._info("Autostart")

    def _info(self, word):
        rows = dict(row.split(":", 1) for row in self.host.virsh("net-info", self.name)[1].split("\n") if ":" in row)
        return rows[word].strip() == "yes"

    def snapshot(self):
        """Its definition, and whether it runs."""
        found = super().snapshot()
        if found is not None:
            found["runs"] = self._info("Active")
        return found

    def put(self):
        """Define it; have a running one take what it can, and start one that starts by itself."""
        super().put()
        if self._info("Active"):
            self._update(self._live(), ElementTree.fromstring(self.content))
        elif self.autostart:
            self.host.virsh("net-start", self.name)

    def restore(self, snapshot):
        """Define what was there, and have a running network follow."""
        super().restore(snapshot)
        if snapshot is None:
            return
        runs = self._info("Active")
        if snapshot["runs"] and not runs:
            self.host.virsh("net-start", self.name)
        elif runs and not snapshot["runs"]:
            self.host.virsh("net-destroy", self.name)
        elif runs:
            self._update(self._live(), ElementTree.fromstring(snapshot["xml"]))

    def remove(self):
        """Stop it where no guest is on it, and undefine it."""
        if self.name not in self._names():
            return
        if self._info("Active"):
            guests = int(self._live().get("connections", "0"))
            if guests:
                raise Problem("%d interfaces of guests are on the network %s: move them first" % (guests, self.name))
            self.host.virsh("net-destroy", self.name)
        self.host.virsh("net-undefine", self.name)

    def _set_autostart(self, wanted):
        if wanted is not None and self._starts_by_itself() != wanted:
            self.host.virsh("net-autostart", self.name, *([] if wanted else ["--disable"]))

    def _live(self):
        return ElementTree.fromstring(self.host.virsh("net-dumpxml", self.name)[1])

    def _update(self, live, wanted):
        """Have the running network take what it can of what is wanted."""
        for section, parent, way in _UPDATABLE:
            before, after = (list(_updatable(network, parent, way)) for network in (live, wanted))
            for index, text in before:
                if (index, text) not in after:
                    self._net_update("delete", section, index, text)
            for index, text in after:
                if (index, text) not in before:
                    self._net_update("add-last", section, index, text)

    def _net_update(self, command, section, index, text):
        self.host.virsh("net-update", self.name, command, section, text, "--live", "--parent-index", str(index))

    def pending(self):
        """What the running network doesn't have yet."""
        if self.name not in self._names() or not self._info("Active"):
            return []
        persistent = ElementTree.fromstring(self.host.virsh("net-dumpxml", "--inactive", self.name)[1])
        live = self._live()
        live.attrib.pop("connections", None)
        lines = list(missing(persistent, live)) + ["no more: %s" % line for line in missing(live, persistent)]
        return ["the network %s needs a restart: %s" % (self.name, line) for line in lines]


def _updatable(network, parent, way):
    """The elements of a section with the number of the parent that they are in, each as canonical text."""
    for index, holder in enumerate(network.findall(parent)):
        for element in holder.findall(way):
            yield (index if parent == "ip" else -1), _canonical(element)


def _canonical(element):
    """An element as text, the same for the same meaning."""
    return ElementTree.tostring(_bare(element), encoding="unicode")


def _bare(element):
    copy = ElementTree.Element(element.tag)
    for name, value in sorted(element.attrib.items()):
        copy.set(name, value)
    copy.text = (element.text or "").strip() or None
    copy.extend([_bare(child) for child in element])
    return copy


_LIVE_PARTS = ("bandwidth", "filterref", "link", "source")
"""What ``virsh update-device --live`` changes of a running guest's interface."""


class DomainItem(LibvirtItem):
    """A guest's domain. A running guest takes what libvirt can change live, and the rest when it starts next."""

    kind = "domain"
    define, dump, undefine = "define", ("dumpxml", "--inactive", "--security-info"), ("undefine", "--keep-nvram")
    names = ("list", "--all", "--name")

    def _starts_by_itself(self):
        return self._info("Autostart") == "enable"

    def _info(self, word):
        rows = dict(row.split(":", 1) for row in self.host.virsh("dominfo", self.name)[1].split("\n") if ":" in row)
        return rows[word].strip()

    def _runs(self):
        return self._info("State") not in ("shut off", "crashed")

    def put(self):
        """Define it, and have a running guest's interfaces follow."""
        super().put()
        self._follow(ElementTree.fromstring(self.content))

    def restore(self, snapshot):
        """Define what was there, and have a running guest's interfaces follow."""
        super().restore(snapshot)
        if snapshot is not None:
            self._follow(ElementTree.fromstring(snapshot["xml"]))

    def remove(self):
        """Undefine it where it doesn't run; disks and NVRAM stay."""
        if self.name not in self._names():
            return
        if self._runs():
            raise Problem("the guest %s runs: shut it down first, then apply again" % self.name)
        super().remove()

    def _set_autostart(self, wanted):
        if wanted is not None and self._starts_by_itself() != wanted:
            self.host.virsh("autostart", self.name, *([] if wanted else ["--disable"]))

    def _live(self):
        return ElementTree.fromstring(self.host.virsh("dumpxml", self.name)[1])

    def _follow(self, wanted):
        if not self._runs():
            return
        there = {_mac(interface): interface for interface in self._live().iter("interface")}
        for interface in wanted.iter("interface"):
            live = there.get(_mac(interface))
            if live is not None and _takes(live, interface):
                self.host.virsh(
                    *("update-device", self.name, "/dev/stdin", "--live"),
                    text=ElementTree.tostring(live, encoding="unicode"),
                )

    def pending(self):
        """What the running guest doesn't have yet."""
        if self.name not in self._names() or not self._runs():
            return []
        ignored = re.compile(r"/domain/(currentMemory|cpu)|/graphics/@port|/interface/@type|/source/@bridge")
        lines = missing(ElementTree.fromstring(self.content), self._live())
        return ["the guest %s needs a restart: %s" % (self.name, line) for line in lines if not ignored.search(line)]


def _mac(interface):
    return interface.find("mac").get("address").lower()


def _takes(live, wanted):
    """Give a running interface the parts that can be changed live; whether that changed anything."""
    changed = False
    for part in _LIVE_PARTS:
        old, new = live.find(part), wanted.find(part)
        if part == "link" and new is None and (old is None or old.get("state") == "up"):
            continue
        if part == "source" and old is not None and new is not None and not list(missing(new, old)):
            continue
        if (None if old is None else _canonical(old)) == (None if new is None else _canonical(new)):
            continue
        changed = True
        if old is not None:
            live.remove(old)
        if new is not None:
            live.append(new)
        elif part == "link":
            ElementTree.SubElement(live, "link", state="up")
    return changed


_ITEMS = {"network": NetworkItem, "nwfilter": FilterItem, "domain": DomainItem}


def item_of(host, entry, content=b""):
    """The item of a manifest's entry; ``None`` for what belongs inside a guest."""
    if entry["kind"] == "guest-file":
        return None
    return _ITEMS.get(entry["kind"], FileItem)(host, entry, content)


# -- what to do --------------------------------------------------------------------------------------------------------


class Change:
    """One item to put or to remove, and what that does."""

    def __init__(self, item, entry, verb, snapshot, details=(), impact="live", wanted=None):
        self.item = item
        self.entry = entry
        self.verb = verb  # create, change, adopt, remove or restore
        self.snapshot = snapshot  # what is there before
        self.details = list(details)
        self.impact = impact  # live, restart or management
        self.wanted = wanted  # the snapshot to restore

    def do(self):
        """Make the change."""
        if self.verb == "remove":
            self.item.remove()
        elif self.verb == "restore":
            self.item.restore(self.wanted)
        else:
            self.item.put()

    def left(self):
        """What isn't as it was meant, once the change is made."""
        there = self.item.snapshot()
        if self.verb == "remove":
            lines = [] if there is None else ["it is still there"]
        elif self.verb == "restore":
            lines = [] if (there is None) == (self.wanted is None) else ["it isn't what was there"]
        else:
            lines = self.item.differences(there)
        return ["%s %s: %s" % (self.item.kind, self.item.name, line) for line in lines[:3]]

    def as_data(self):
        """What `plan --json` says of it."""
        return {
            "verb": self.verb,
            "kind": self.item.kind,
            "name": self.item.name,
            "impact": self.impact,
            "details": self.details,
        }


def changes_to(host, folder, state, adopted):
    """Everything that must be done for the host to be equal to the folder, in order; refused where it isn't ours."""
    owned = {entry["path"]: entry for entry in state["files"]}
    changes, foreign = [], []
    on_path = management_links(host)
    for path, entry in folder.entries.items():
        item = item_of(host, entry, folder.contents[path])
        if item is None:
            continue
        snapshot = item.snapshot()
        details = item.differences(snapshot)
        if not details and path in owned:
            continue
        is_ours = path in owned or snapshot is None or not details
        if not is_ours and item.name not in adopted:
            foreign.append(item)
        verb = "create" if snapshot is None else "change" if path in owned else "adopt"
        changes.append(Change(item, entry, verb, snapshot, details, _impact(item, on_path)))
    changes += _removals(host, folder, owned, on_path)
    if foreign:
        names = ", ".join("%s %s" % (item.kind, item.name) for item in foreign)
        words = " ".join("--adopt %s" % item.name for item in foreign)
        raise Problem("not kvmgen's, and different: %s. To take them over: %s" % (names, words))
    return changes


def _removals(host, folder, owned, on_path):
    """What a manifest once put here and this one doesn't, the last kind first."""
    for path, entry in reversed(list(owned.items())):
        item = item_of(host, entry)
        if path in folder.entries or item is None:
            continue
        snapshot = item.snapshot()
        if snapshot is not None:
            yield Change(item, entry, "remove", snapshot, [], _impact(item, on_path))


def _impact(item, on_path):
    if item.kind == "firewall" or (item.kind == "link" and _device(item.name) in on_path):
        return "management"
    if item.kind == "link" and os.path.isdir("/sys/class/net/%s" % _device(item.name)):
        return "restart"
    return "live"


def _device(path):
    """The device of an ifcfg, route or keyfile."""
    return re.sub(r"^(ifcfg|route6?|rule6?|keys)-", "", os.path.basename(path))


def management_links(host):
    """The links on the way to whoever administers this host: the session's, else the default route's, and below."""
    if not host.is_live:
        return set()
    session = os.environ.get("SSH_CONNECTION", "").split()
    argv = ("ip", "-o", "address", "show") if session else ("ip", "-o", "route", "show", "default")
    if not host.has("ip"):
        return set()
    rows = [row.split() for row in host.run(argv, check=False)[1].splitlines()]
    if session:
        found = {row[1] for row in rows if any(word.split("/")[0] == session[2] for word in row)}
    else:
        found = {row[row.index("dev") + 1] for row in rows if "dev" in row}
    return found.union(*(_below(link) for link in found))


def _below(link):
    """A link and everything that it stands on."""
    folder = "/sys/class/net/%s" % link
    try:
        lower = {name[len("lower_") :] for name in os.listdir(folder) if name.startswith("lower_")}
    except OSError:
        return {link}
    return {link}.union(*(_below(name) for name in lower))


# -- telling services --------------------------------------------------------------------------------------------------


def activate(host, changes):
    """Have the running system follow changed files; what can't follow live is told by `status`."""
    if not host.is_live:
        return
    kinds = {change.item.kind for change in changes if isinstance(change.item, FileItem)}
    if "modules" in kinds:
        _run_one_of(host, ("/usr/lib/systemd/systemd-modules-load",), ("/lib/systemd/systemd-modules-load",))
    if "sysctl" in kinds:
        _run_one_of(
            host, ("/usr/lib/systemd/systemd-sysctl",), ("/lib/systemd/systemd-sysctl",), ("sysctl", "--system")
        )
    if "udev" in kinds:
        host.run(("udevadm", "control", "--reload"), check=False)
    if "firewall" in kinds and host.has("firewall-cmd"):
        _reload_firewalld(host)


def _run_one_of(host, *commands):
    for argv in commands:
        if os.path.exists(argv[0]) or ("/" not in argv[0] and host.has(argv[0])):
            host.run(argv)
            return


def _reload_firewalld(host):
    code, _ = host.run(("firewall-cmd", "--state"), check=False)
    if code == 252:  # it doesn't run
        return
    host.run(("firewall-cmd", "--reload"))
    host.run(("firewall-cmd", "--state"))


# -- what is remembered ------------------------------------------------------------------------------------------------

_NOTHING = {"generation": 0, "host": None, "digest": None, "files": []}


class Store:
    """What is remembered between runs, below /var/lib/kvmgen.

    These are the state, a journal while an apply is on its way, and a record of every generation to undo it by.
    """

    def __init__(self, host):
        self.host = host
        self.folder = os.path.join(host.root, "var/lib/kvmgen")
        self._lock = None

    def path(self, name):
        """The place of something remembered."""
        return os.path.join(self.folder, name)

    def lock(self):
        """Keep other runs away; refused where one is on its way."""
        make_folders(self.folder)
        os.chmod(self.folder, 0o700)
        self._lock = open(self.path("lock"), "a+")  # noqa: SIM115 held until the process ends
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise Problem("another kvmgen-apply is on its way: wait for its end")

    @property
    def state(self):
        """What the last apply left: the generation, and the entries of its manifest."""
        return read_json(self.path("state.json"), _NOTHING)

    def record(self, generation):
        """What a generation changed."""
        found = read_json(self.path("generations/%d.json" % generation))
        if found is None:
            raise Problem("there is no record of generation %d" % generation)
        return found

    def generations(self):
        """The recorded generations, oldest first."""
        try:
            names = os.listdir(self.path("generations"))
        except FileNotFoundError:
            return []
        return sorted(int(name[:-5]) for name in names if name.endswith(".json"))


# -- the transaction ---------------------------------------------------------------------------------------------------


def transact(store, changes, state, why, healthy=lambda: None):
    """Make changes as a whole: all of them and the new state, or none and the old one.

    ``healthy`` raises a problem where the host isn't well with them.
    """
    journal = {
        "generation": state["generation"],
        "before": store.state,
        "after": state,
        "why": why,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "items": [{"entry": change.entry, "snapshot": change.snapshot, "verb": change.verb} for change in changes],
    }
    write_json(store.path("journal.json"), journal)
    try:
        for change in changes:
            log.info("%s %s %s", change.verb, change.item.kind, change.item.name)
            change.do()
        activate(store.host, changes)
        left = [line for change in changes for line in change.left()]
        if left:
            raise Problem("it isn't what was put: %s" % "; ".join(left))
        healthy()
    except BaseException as error:
        undo(store, journal)
        if isinstance(error, (Problem, OSError)):
            raise RolledBack("%s. Everything is as it was before" % error)
        raise
    finish(store, journal)


def finish(store, journal):
    """Make the new state the state: from here on the apply is done, whatever happens."""
    write_json(store.path("generations/%d.json" % journal["generation"]), journal)
    write_json(store.path("state.json"), journal["after"])
    remove_file(store.path("journal.json"))


def undo(store, journal):
    """Restore every snapshot of a journal, the last one first, and forget the journal."""
    try:
        changes = []
        for known in reversed(journal["items"]):
            item = item_of(store.host, known["entry"])
            if item.snapshot() != known["snapshot"]:
                item.restore(known["snapshot"])
                changes.append(Change(item, known["entry"], "restore", None, [], "live"))
        activate(store.host, changes)
    except (Problem, OSError) as error:
        raise Stuck(
            "the rollback failed: %s. What was there before is in %s; mend the cause, and run `kvmgen-apply rollback`"
            % (error, store.path("journal.json"))
        )
    write_json(store.path("state.json"), journal["before"])
    remove_file(store.path("journal.json"))


def recover(store):
    """Bring to an end what an earlier run left on its way; whether there was anything."""
    journal = read_json(store.path("journal.json"))
    if journal is None:
        return False
    if store.state["generation"] >= journal["generation"]:
        remove_file(store.path("journal.json"))
        log.warning("generation %d was done, and is recorded now", journal["generation"])
        return True
    undo(store, journal)
    log.warning("an apply that was cut off is rolled back: the host is at generation %d", store.state["generation"])
    return True


# -- commit-confirm ----------------------------------------------------------------------------------------------------

_UNIT = "kvmgen-apply-confirm"


def _boot():
    with open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()


def arm(host, seconds):
    """Have the rollback run in so many seconds, whatever becomes of this process; what the state remembers of it.

    The deadline is counted from the boot, which no clock that is set can move.
    """
    argv = [sys.executable, "-I", os.path.abspath(__file__), "--root", host.root, "--connect", host.connect]
    argv += ["rollback", "--unconfirmed"]
    if host.is_live and host.has("systemd-run") and os.path.isdir("/run/systemd/system"):
        timer = ["--on-active=%d" % seconds, "--timer-property=AccuracySec=1s", "--unit=" + _UNIT, "--collect"]
        host.run(["systemd-run", *timer, *argv])
    else:
        _watch(seconds, argv)
    return {"deadline": time.clock_gettime(time.CLOCK_BOOTTIME) + seconds, "boot": _boot()}


def _watch(seconds, argv):
    """A process of its own session that sleeps, and then runs the rollback."""
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    with open(os.devnull, "r+b") as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    os.closerange(3, 256)  # the lock among them
    deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + seconds
    while time.clock_gettime(time.CLOCK_BOOTTIME) < deadline:
        time.sleep(min(1.0, seconds))
    os.execv(argv[0], argv)


def is_due(unconfirmed):
    """Whether nobody confirmed in time; a host that was started since never was."""
    return unconfirmed["boot"] != _boot() or time.clock_gettime(time.CLOCK_BOOTTIME) >= unconfirmed["deadline"]


def roll_back(store, generation, why):
    """Restore what was there at a generation; this is a generation of its own."""
    state = store.state
    if not 0 <= generation < state["generation"]:
        raise Misused("generation %d can't be gone back to: the host is at %d" % (generation, state["generation"]))
    oldest = {}
    target = state
    for number in range(state["generation"], generation, -1):
        record = store.record(number)
        target = record["before"]
        for known in record["items"]:
            oldest[known["entry"]["path"]] = known
    changes = []
    for known in oldest.values():
        item = item_of(store.host, known["entry"])
        now = item.snapshot()
        if now != known["snapshot"]:
            changes.append(Change(item, known["entry"], "restore", now, wanted=known["snapshot"]))
    after = dict(target, generation=state["generation"] + 1)
    after.pop("unconfirmed", None)
    transact(store, changes, after, why)
    return changes


# -- health ------------------------------------------------------------------------------------------------------------


def health(host, check_gateway, check_command):
    """A function that raises a problem where the host isn't well."""

    def healthy():
        if check_gateway:
            gateway = _gateway(host)
            if gateway is None:
                raise Problem("there is no default gateway any more")
            if host.run(("ping", "-c", "3", "-i", "0.3", "-W", "2", gateway), check=False)[0]:
                raise Problem("the gateway %s doesn't answer any more" % gateway)
        if check_command:
            host.run(("sh", "-c", check_command))

    return healthy


def _gateway(host):
    words = host.run(("ip", "-o", "route", "show", "default"), check=False)[1].split()
    return words[words.index("via") + 1] if "via" in words else None


# -- signatures --------------------------------------------------------------------------------------------------------


def verify_signature(host, folder, signers):
    """Hold the manifest, and with it every file, to a signature of one of the allowed signers."""
    manifest, signature = (os.path.join(folder, name) for name in ("manifest.json", "manifest.json.sig"))
    if not os.path.exists(signature):
        raise Problem("manifest.json isn't signed (no manifest.json.sig), and --signers asks for it")
    with open(manifest, encoding="utf-8") as stream:
        text = stream.read()
    with open(signature, "rb") as stream:
        is_ssh = b"BEGIN SSH SIGNATURE" in stream.read(200)
    if is_ssh:
        words = ("ssh-keygen", "-Y", "verify", "-f", signers, "-I", "kvmgen", "-n", "kvmgen", "-s", signature)
    else:
        words = ("gpgv", "--keyring", os.path.abspath(signers), signature, manifest)
    if not host.has(words[0]):
        raise Problem("%s isn't installed, which the signature needs" % words[0])
    code, _ = host.run(words, text=text if is_ssh else "", check=False)
    if code:
        raise Problem("the signature of manifest.json isn't one that --signers allows")


# -- commands ----------------------------------------------------------------------------------------------------------


class Command:
    """One run: the host, what is remembered, and how to tell."""

    def __init__(self, words):
        self.words = words
        self.host = Host(words.root, words.connect, words.timeout)
        self.store = Store(self.host)

    def tell(self, data, lines):
        """Say something, to people or to programs."""
        print(json.dumps(data, indent=1, sort_keys=True) if self.words.json else "\n".join(lines))

    def begin(self):
        """Keep others away, and bring to an end what was left on its way."""
        self.store.lock()
        recover(self.store)
        unconfirmed = self.store.state.get("unconfirmed")
        if unconfirmed and is_due(unconfirmed):
            log.warning("nobody confirmed generation %d in time: it is rolled back", self.store.state["generation"])
            roll_back(self.store, self.store.state["generation"] - 1, "nobody confirmed")

    def folder(self):
        """The folder to apply, unpacked and verified, and for this host."""
        place = self.words.folder
        if place == "-":
            place = unpacked(sys.stdin.buffer, self.words.scratch)
        if self.words.signers:
            verify_signature(self.host, place, self.words.signers)
        folder = Folder(place)
        name = self.words.host or os.uname().nodename
        if name != folder.host and not name.startswith(folder.host + "."):
            raise Problem("the folder is for %s, and this is %s; --host says otherwise" % (folder.host, name))
        return folder

    def plan(self):
        """Tell what an apply would do."""
        self.store.lock()
        if read_json(self.store.path("journal.json")):
            raise Problem("an apply was cut off: run `kvmgen-apply status` first, which brings it to an end")
        changes = changes_to(self.host, self.folder(), self.store.state, self.words.adopt)
        self.tell([change.as_data() for change in changes], list(_told(changes)))
        return PENDING if changes else DONE

    def apply(self):
        """Make the host equal to the folder."""
        self.begin()
        folder, state = self.folder(), self.store.state
        if state.get("unconfirmed"):
            raise Problem("generation %d waits for `kvmgen-apply confirm`" % state["generation"])
        changes = changes_to(self.host, folder, state, self.words.adopt)
        risky = [change.item.name for change in changes if change.impact == "management"]
        if risky and self.host.is_live and not self.words.confirm_within:
            raise Problem("on the way that administrators come in: %s. Use --confirm-within 120" % ", ".join(risky))
        if not changes and state["digest"] == folder.digest:
            self.tell({"generation": state["generation"], "changes": []}, ["Nothing to do."])
            return DONE
        after = {
            "generation": state["generation"] + 1,
            "host": folder.host,
            "digest": folder.digest,
            "files": folder.manifest["files"],
        }
        if self.words.confirm_within:
            after["unconfirmed"] = arm(self.host, self.words.confirm_within)
        healthy = health(self.host, self.words.check_gateway, self.words.check_command)
        transact(self.store, changes, after, "apply", healthy)
        pending = [line for change in changes if change.verb != "remove" for line in change.item.pending()]
        lines = list(_told(changes)) + ["pending: %s" % line for line in pending]
        lines.append("Generation %d." % after["generation"])
        if self.words.confirm_within:
            lines.append("Run `kvmgen-apply confirm` within %d s." % self.words.confirm_within)
        data = {
            "generation": after["generation"],
            "changes": [change.as_data() for change in changes],
            "pending": pending,
        }
        self.tell(data, lines)
        return DONE

    def confirm(self):
        """Keep what the last apply did."""
        self.begin()
        state = self.store.state
        if not state.get("unconfirmed"):
            raise Problem("nothing waits to be confirmed")
        state.pop("unconfirmed")
        write_json(self.store.path("state.json"), state)
        if self.host.is_live and self.host.has("systemctl"):
            self.host.run(("systemctl", "stop", _UNIT + ".timer"), check=False)
        self.tell({"generation": state["generation"]}, ["Generation %d stays." % state["generation"]])
        return DONE

    def rollback(self):
        """Go back to an earlier generation, the last one where none is named."""
        if self.words.unconfirmed:
            self.begin()
            return DONE
        self.store.lock()
        if recover(self.store) and self.words.generation is None:
            return DONE
        state = self.store.state
        target = state["generation"] - 1 if self.words.generation is None else self.words.generation
        changes = roll_back(self.store, target, "back to generation %d" % target)
        data = {"generation": self.store.state["generation"], "changes": [change.as_data() for change in changes]}
        self.tell(data, [*list(_told(changes)), "The host is as it was at generation %d." % target])
        return DONE

    def status(self):
        """Tell the generation, what somebody changed by hand, and what waits for a restart."""
        self.begin()
        state = self.store.state
        drift, pending = self._drift(state)
        data = {
            "generation": state["generation"],
            "host": state["host"],
            "drift": drift,
            "pending": pending,
            "unconfirmed": bool(state.get("unconfirmed")),
        }
        lines = ["Generation %d." % state["generation"]]
        lines += ["changed by hand: %s" % line for line in drift] + ["pending: %s" % line for line in pending]
        self.tell(data, lines)
        return PENDING if drift or pending else DONE

    def _drift(self, state):
        drift, pending = [], []
        for entry in state["files"]:
            item = item_of(self.host, entry)
            if item is None:
                continue
            there = item.snapshot()
            if there is None:
                drift.append("%s %s is gone" % (item.kind, item.name))
            elif isinstance(item, FileItem) and _digest(there) != entry["sha256"]:
                drift.append("%s differs" % item.name)
        return drift, pending

    def history(self):
        """Tell every generation: when, why, and how many things it changed."""
        records = [self.store.record(number) for number in self.store.generations()]
        data = [{key: record[key] for key in ("generation", "time", "why")} for record in records]
        lines = ["%(generation)4d  %(time)s  %(why)s" % row for row in data]
        self.tell(data, lines or ["Nothing was applied yet."])
        return DONE


def _told(changes):
    for change in changes:
        yield "%-7s %-9s %s  (%s)" % (change.verb, change.item.kind, change.item.name, change.impact)
        for line in change.details:
            yield "    %s" % line


def parser():
    """The command's words."""
    top = argparse.ArgumentParser(prog="kvmgen-apply", description=__doc__.split("\n\n", 1)[0])
    top.add_argument("--version", action="version", version="kvmgen-apply " + VERSION)
    top.add_argument("--root", default="/", help="where the host's files are (default: /)")
    top.add_argument("--connect", default="qemu:///system", help="libvirt (default: qemu:///system)")
    top.add_argument("--timeout", type=int, default=TIMEOUT, help="seconds that any one command may take")
    top.add_argument("--json", action="store_true", help="tell results as JSON")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    for name in ("plan", "apply"):
        command = commands.add_parser(name, help=getattr(Command, name).__doc__)
        command.add_argument("folder", metavar="DIR", help="the host's folder of the output; - for a tar on stdin")
        command.add_argument("--host", help="this host's name in the inventory (default: its host name)")
        command.add_argument(
            "--adopt", action="append", default=[], metavar="NAME", help="take over what isn't kvmgen's"
        )
        command.add_argument("--signers", metavar="FILE", help="allowed signers or keyring: ask for a signature")
        if name == "apply":
            command.add_argument("--confirm-within", type=int, metavar="SECONDS", help="roll back unless confirmed")
            command.add_argument("--check-gateway", action="store_true", help="roll back if it doesn't answer")
            command.add_argument("--check-command", metavar="CMD", help="roll back if this fails")
    commands.add_parser("confirm", help=Command.confirm.__doc__)
    back = commands.add_parser("rollback", help=Command.rollback.__doc__)
    back.add_argument("generation", type=int, nargs="?")
    back.add_argument("--unconfirmed", action="store_true", help="only what nobody confirmed in time")
    commands.add_parser("status", help=Command.status.__doc__)
    commands.add_parser("history", help=Command.history.__doc__)
    return top


def start_logging():
    """Log to stderr, and to the system's log where there is one."""
    log.setLevel(logging.INFO)
    handlers = [logging.StreamHandler()]
    if os.path.exists("/dev/log"):
        handlers.append(logging.handlers.SysLogHandler("/dev/log"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("kvmgen-apply: %(message)s"))
        log.addHandler(handler)


def main(arguments=None):
    """Run a command; its exit code."""
    words = parser().parse_args(arguments)
    start_logging()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("ended by a signal"))
    os.umask(0o077)
    try:
        with tempfile.TemporaryDirectory(prefix="kvmgen-apply-") as words.scratch:
            return getattr(Command(words), words.command)()
    except Problem as problem:
        log.error("%s", problem)
        return problem.code
    except OSError as error:
        log.error("%s: %s", error.filename or "the system", error.strerror)
        return FAILED
    except Exception:
        traceback.print_exc()
        log.error("this is a bug in kvmgen-apply: please report it with the lines above")
        return DEFECT


if __name__ == "__main__":
    sys.exit(main())
