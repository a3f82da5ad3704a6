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
import contextlib
import ctypes
import difflib
import errno
import fcntl
import hashlib
import io
import ipaddress
import json
import logging
import os
import re
import reprlib
import shlex
import shutil
import signal
import socket
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
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SYSTEM_LOG = "/dev/log"
log = logging.getLogger("kvmgen-apply")


class Problem(Exception):
    """Something that stops a command; its text says what, and what to do."""

    code = FAILED


EXPECTED = (Problem, OSError, ElementTree.ParseError)
"""What may go wrong on a host without being a bug: the last is virsh's nonsense, the manifest's XML being verified."""


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

_LIBC = ctypes.CDLL(None)


def _end_with_parent():
    """Have a program be killed when this one is: an orphan could change things after the next run has looked."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Host:
    """The machine, or an image below ``root``; libvirt at ``connect``."""

    def __init__(self, root="/", connect="qemu:///system", timeout=TIMEOUT):
        self.root = os.path.realpath(root)
        self.connect = connect
        self.timeout = timeout
        self.is_starting = False  # links and daemons don't run yet: files are all that can be looked after
        self._help = {}
        self._answers = None  # virsh's by its words, while nothing changes
        self.silent = set()  # programs that gave no answer: not asked again until a rollback tries anew

    @property
    def is_live(self):
        """Whether it runs, so that services can be told of changes."""
        return self.root == "/" and not self.is_starting

    def path(self, name):
        """The place of a path of the manifest; refused where a link leads out of the root, or a file is in the way."""
        folder, name = os.path.split(os.path.join(self.root, name))
        parent = there = os.path.realpath(folder)
        if os.path.commonpath([self.root, parent]) != self.root:
            raise Problem("%s leads out of %s: mend that link first" % (folder, self.root))
        while not os.path.lexists(there):
            there = os.path.dirname(there)
        if not os.path.isdir(there):
            raise Problem("%s is there and no folder: move it away first" % there)
        return os.path.join(parent, name)

    def run(self, argv, text="", check=True):
        """Run a program to its end; its output, or a problem where it fails or takes too long."""
        environment = {"PATH": os.environ.get("PATH", PATH), "LC_ALL": "C", "HOME": "/root"}
        if argv[0] in self.silent:
            raise Problem("%s gave no answer before, and isn't asked again" % argv[0])
        try:
            process = subprocess.Popen(
                [word.encode("utf-8", "surrogateescape") for word in argv],  # Python 3.6 would ask the locale
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 this program has one thread
            )
        except OSError as error:
            raise Problem("%s can't be run: %s" % (argv[0], error.strerror))
        try:
            out, err = process.communicate(text.encode(), self.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            self.silent.add(argv[0])
            raise Problem("%s gave no answer within %s s" % (" ".join(argv[:4]), self.timeout))
        said = err.decode(errors="replace").strip()
        if check and process.returncode:
            raise Problem("%s: %s" % (" ".join(argv[:5]), said or "failed with %d" % process.returncode))
        return process.returncode, out.decode(errors="replace")

    def virsh(self, *words, **options):
        """Run a command of virsh."""
        if self.is_starting:
            raise Problem("libvirt isn't asked while the host starts")
        argv = ("virsh", "--quiet", "--connect", self.connect, *words)
        if self._answers is None or options:
            return self.run(argv, **options)
        if words not in self._answers:
            self._answers[words] = self.run(argv, **options)
        return self._answers[words]

    @contextlib.contextmanager
    def looked_at(self):
        """Ask virsh each thing once: nothing is changed meanwhile."""
        self._answers = {}
        try:
            yield
        finally:
            self._answers = None

    def knows(self, command, option):
        """Whether this host's virsh has an option, which older ones lack."""
        if command not in self._help:
            self._help[command] = self.virsh("help", command)[1]
        return option in self._help[command]

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


def replace_file(path, content, mode=0o600, owner=(0, 0), attributes=None):
    """Write a file whole or not at all; with extended attributes (SELinux's label, ACLs) where they are given.

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
            if attributes is not None:
                _set_attributes(stream.fileno(), attributes)
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def attributes_of(path):
    """A file's extended attributes: SELinux's label, ACLs, capabilities; none where its file system has none."""
    try:
        return {name: base64.b64encode(os.getxattr(path, name)).decode() for name in os.listxattr(path)}
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise


def _set_attributes(descriptor, attributes):
    there = attributes_of(descriptor)
    for name in set(there) - set(attributes):  # as a folder's default ACL
        os.removexattr(descriptor, name)
    for name, value in attributes.items():
        if there.get(name) != value:
            os.setxattr(descriptor, name, base64.b64decode(value))


def clean_up(folder):
    """Remove what a run that was killed while it wrote a file left in a folder."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if re.fullmatch(r"\.kvmgen-.*\.rpmsave", name):
            os.unlink(os.path.join(folder, name))


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
    except (ValueError, RecursionError) as error:
        raise Problem("%s is damaged (%s): restore it from a backup" % (path, error))


# -- the folder and its manifest ---------------------------------------------------------------------------------------

_MANIFEST, _SIGNATURE = "manifest.json", "manifest.json.sig"
LIMIT = 64 << 20  # bytes that a host's folder may have; hundreds of guests make two million, their seeds twenty

_PLACES = {
    "modules": r"etc/modules-load\.d/[^/]+\.conf",
    "sysctl": r"etc/sysctl\.(conf|d/[^/]+\.conf)",
    "udev": r"etc/udev/rules\.d/[^/]+\.rules",
    "link": r"etc/sysconfig/network(-scripts/(ifcfg|route6?|rule6?|keys)-[^/]+)?"
    r"|etc/NetworkManager/system-connections/[^/]+\.nmconnection",
    "firewall": r"etc/sysconfig/ip6?tables|etc/firewalld/(firewalld\.conf|direct\.xml|(zones|policies)/[^/]+\.xml)"
    r"|etc/nftables/[^/]+\.nft",
    "unit": r"etc/systemd/system/[^/]+\.d/[^/]+\.conf",
    "network": r"libvirt/networks/[^/]+\.xml",
    "nwfilter": r"libvirt/nwfilters/[^/]+\.xml",
    "seed": r"var/lib/libvirt/images/kvmgen-[^/]+-seed\.iso",
    "domain": r"libvirt/domains/[^/]+\.xml",
    "guest-file": r"guests/[^/]+/.+",
}
"""Where the files of each kind belong; nothing is ever written anywhere else."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_KIND = re.compile("|".join(_PLACES))
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHAPE = {
    "generator": re.compile("kvmgen"),
    "format": int,
    "site": _NAME,
    "host": _NAME,
    "platform": re.compile(r"el(6|7|8|9|10)(\.[0-9]{1,2})?"),
    "order": [_KIND],
    "files": [
        {
            "path": re.compile(r"(etc|libvirt|guests|var)(/[A-Za-z0-9_@+=:-][A-Za-z0-9_.@+=:-]*)+"),
            "sha256": re.compile("[0-9a-f]{64}"),
            "mode": re.compile("0[0-7]{3}"),
            "kind": _KIND,
            "defines?": {
                "name": _NAME,
                "uuid": _UUID,
                "autostart?": bool,
                "needs?": [str],
                "images?": [{"source": str, "format": re.compile("qcow2|raw"), "size?": int}],
                "validate?": bool,
            },
        }
    ],
}
"""The manifest's form, as its schema has it: a pattern, a type, a list, or keys of which ``?`` ones may be absent."""


def misshapen(data, shape, way="it"):
    """What of data hasn't the form that it should have, a line each."""
    if isinstance(shape, dict):
        yield from _misshapen_keys(data, shape, way)
    elif isinstance(shape, list):
        if not isinstance(data, list):
            yield "%s is no list" % way
            return
        for index, item in enumerate(data):
            yield from misshapen(item, shape[0], "%s[%d]" % (way, index))
    elif isinstance(shape, type):
        if type(data) is not shape:  # for True is an int
            yield "%s is %s, no %s" % (way, reprlib.repr(data), shape.__name__)
    elif not isinstance(data, str) or not shape.fullmatch(data):
        yield "%s is %s" % (way, reprlib.repr(data))


def _misshapen_keys(data, shape, way):
    if not isinstance(data, dict):
        yield "%s is no object" % way
        return
    parts = {name.rstrip("?"): part for name, part in shape.items()}
    for name in data:
        if name not in parts:
            yield "%s has %s, which this program doesn't know" % (way, reprlib.repr(name))
    for name, part in parts.items():
        if name in data:
            yield from misshapen(data[name], part, "%s.%s" % (way, name))
        elif name in shape:
            yield "%s has no %s" % (way, name)


class Folder:
    """A folder of kvmgen's output for this host, verified as a whole before anything else is done with it.

    ``files`` are the bytes of each file by path. They are read once: what is verified is what is put.
    """

    def __init__(self, files):
        self.manifest = _manifest(files)
        self.entries = {entry["path"]: entry for entry in self.manifest["files"]}
        self.contents = {path: content for path, content in files.items() if path not in (_MANIFEST, _SIGNATURE)}
        wrong = [line for find in (self._strangers, self._doubles, self._changed, self._misplaced) for line in find()]
        if wrong:
            raise Problem("%s: nothing of this folder is used; build the output again" % _some(wrong))

    @property
    def host(self):
        """The name of the host that it is for."""
        return self.manifest["host"]

    @property
    def texts(self):
        """The files' texts, by path and in the manifest's order."""
        return {path: self.contents[path].decode(errors="replace") for path in self.entries}

    @property
    def digest(self):
        """What tells two folders apart."""
        text = json.dumps(self.manifest, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _strangers(self):
        for path in sorted(set(self.contents) - set(self.entries)):
            yield "the manifest doesn't name %s" % ascii(path)
        for path in sorted(set(self.entries) - set(self.contents)):
            yield "%s is missing" % path

    def _doubles(self):
        names = [entry["path"] for entry in self.manifest["files"]]
        names += [_object(entry) for entry in self.manifest["files"] if "defines" in entry]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield "%s stands in the manifest twice" % name

    def _changed(self):
        for path, content in sorted(self.contents.items()):
            if path in self.entries and hashlib.sha256(content).hexdigest() != self.entries[path]["sha256"]:
                yield "%s isn't what the manifest says" % path

    def _misplaced(self):
        for path, entry in self.entries.items():
            if not re.fullmatch(_PLACES[entry["kind"]], path):
                yield "%s is no place for the kind %s" % (path, entry["kind"])
            elif (entry["kind"] in _ITEMS) != ("defines" in entry):
                yield "%s has %s `defines`" % (path, "a needless" if "defines" in entry else "no")
            elif "defines" in entry and path in self.contents:
                yield from _misdefined(entry, self.contents[path])


def _manifest(files):
    if _MANIFEST not in files:
        raise Problem("there is no manifest.json: name a host's folder of kvmgen's output")
    try:
        manifest = json.loads(files[_MANIFEST].decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Problem("manifest.json can't be read (%s): build the output again" % error)
    if not isinstance(manifest, dict) or manifest.get("generator") != "kvmgen":
        raise Problem("manifest.json isn't kvmgen's: name a host's folder of kvmgen's output")
    if manifest.get("format") != FORMAT:
        raise Problem(
            "the manifest has format %s, and this program reads %d: take the applier of the kvmgen that built it"
            % (reprlib.repr(manifest.get("format")), FORMAT)
        )
    wrong = list(misshapen(manifest, _SHAPE, "manifest"))
    if wrong:
        raise Problem("the manifest isn't as kvmgen writes it: %s. Build the output again" % _some(wrong))
    return manifest


def _unique(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _object(entry):
    """The object of libvirt that an entry defines."""
    return "%s/%s" % (entry["kind"], entry["defines"]["name"])


def _misdefined(entry, content):
    """What a definition says otherwise than the manifest: libvirt would touch another object than the one meant."""
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        yield "%s has a DTD" % entry["path"]
        return
    try:
        tree = ElementTree.fromstring(content.decode())
    except (ValueError, ElementTree.ParseError) as error:
        yield "%s is no XML (%s)" % (entry["path"], error)
        return
    tag = {"nwfilter": "filter"}.get(entry["kind"], entry["kind"])
    there = (tree.tag, tree.get("name") if tag == "filter" else tree.findtext("name"), tree.findtext("uuid"))
    if there != (tag, entry["defines"]["name"], entry["defines"]["uuid"]):
        yield "%s defines another object than the manifest says" % entry["path"]


def _some(lines):
    return "; ".join(lines[:3]) + (" and %d more" % (len(lines) - 3) if len(lines) > 3 else "")


def read_plain(path, limit=LIMIT):
    """The bytes and the status of a file; refused where it is no plain one: a pipe never ends, a device might act."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise Problem("%s is there and no plain file: move it away first" % ascii(path))
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise Problem("%s is too large: no file of kvmgen's is" % ascii(path))
        return content, os.fstat(stream.fileno())


def files_in_folder(folder):
    """The bytes of every file below a folder, by path."""
    files, left = {}, LIMIT
    for place, folders, names in os.walk(folder, onerror=_raise):
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                raise Problem("%s is a link, and an output has none" % ascii(os.path.join(place, name)))
        for name in names:
            path = os.path.join(place, name)
            content, _ = read_plain(path, left)
            left -= len(content)
            files[os.path.relpath(path, folder)] = content
    return files


def _raise(error):
    raise error


def files_in_archive(stream):
    """The bytes of every file in a tar archive, by path; nothing of it is unpacked to disk."""
    data = stream.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise Problem("the archive is too large: send one host's folder (`tar c -C output/HOST .`)")
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as archive:  # without compression: no bomb either
            return _members(archive)
    except Problem:
        raise
    except Exception as error:  # whatever a malformed header makes tarfile raise
        raise Problem("stdin is no tar archive (%s): send `tar c -C output/HOST .`" % error)


def _members(archive):
    files, left = {}, LIMIT
    for member in archive:
        name = member.name[2:] if member.name.startswith("./") else member.name
        if member.isdir():
            continue
        if not member.isreg() or member.issparse() or name in files:
            raise Problem("the archive has %s, which is no plain file or there twice" % ascii(member.name))
        left -= member.size
        if left < 0:
            raise Problem("the archive says that it holds more than %d bytes" % LIMIT)
        files[name] = archive.extractfile(member).read()
    return files


# -- items: files ------------------------------------------------------------------------------------------------------


def device_of(entry):
    """The device of a link's file: of kvmgen's by its name; of others' it is remembered."""
    return entry.get("device", _device(entry["path"]))


class FileItem:
    """A file below the root."""

    def __init__(self, host, entry, content):
        self.host = host
        self.kind = entry["kind"]
        self.name = entry["path"]
        self.device = device_of(entry)  # where it is a link's
        self.mode = int(entry["mode"], 8)
        self.sha256 = entry["sha256"]
        self.content = content

    @property
    def key(self):
        """What it is known by in journals."""
        return self.name

    def snapshot(self):
        """The file that is there, or ``None``."""
        path = self.host.path(self.name)
        try:
            content, status = read_plain(path)
        except FileNotFoundError:
            return None
        return {
            "content": base64.b64encode(content).decode(),
            "mode": stat.S_IMODE(status.st_mode),
            "owner": [status.st_uid, status.st_gid],
            "attributes": attributes_of(path),
        }

    def differences(self, snapshot):
        """How the file that is there differs from the one that is wanted: lines, none where it doesn't."""
        before = base64.b64decode(snapshot["content"]) if snapshot else b""
        binary = b"\0" in before + self.content
        texts = ([], []) if binary else (_text(before), _text(self.content))
        lines = list(difflib.unified_diff(*texts, "now", "then", lineterm="", n=1))
        if snapshot is None and not lines:
            lines.append("it isn't there")
        if before != self.content and not lines:
            lines.append("it is binary, and differs" if binary else "its line ends or its encoding differ")
        if snapshot and snapshot["mode"] != self.mode:
            lines.append("mode %04o becomes %04o" % (snapshot["mode"], self.mode))
        if snapshot and snapshot["owner"] != [0, 0] and os.geteuid() == 0:
            lines.append("owner %d:%d becomes 0:0" % tuple(snapshot["owner"]))
        return lines

    def drift(self, snapshot):
        """What somebody changed by hand since it was put."""
        if hashlib.sha256(base64.b64decode(snapshot["content"])).hexdigest() != self.sha256:
            yield "its content was changed"
        if snapshot["mode"] != self.mode:
            yield "its mode is %04o, not %04o" % (snapshot["mode"], self.mode)
        if os.geteuid() == 0 and snapshot["owner"] != [0, 0]:
            yield "it belongs to %d:%d, not to root" % tuple(snapshot["owner"])

    def is_at(self, there, wanted):
        """Whether two snapshots are the same."""
        return there == wanted

    def refusal(self, snapshot):
        """Why it can't be put or removed; ``None`` where it can."""
        path = folder = self.host.path(self.name)
        while folder == path or not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        for place in [folder] + [path] * (snapshot is not None):
            if not os.access(place, os.W_OK):
                return "%s can't be written: it is read-only or immutable (see `lsattr -d`)" % place
        return None

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
            content = base64.b64decode(snapshot["content"])
            replace_file(path, content, snapshot["mode"], snapshot["owner"], snapshot["attributes"])

    def remove(self):
        """Remove the file."""
        remove_file(self.host.path(self.name))

    def pending(self):
        """What of it isn't in effect yet; a link's file is read when the link starts."""
        return []

    def _label(self):
        if self.host.is_live and self.host.has("restorecon"):
            self.host.run(("restorecon", self.host.path(self.name)), check=False)


class SeedItem(FileItem):
    """The image of a guest's cloud-init seed, which libvirt lends to QEMU while the guest runs.

    A running guest keeps the image that it started with, whatever the file becomes.
    """

    def snapshot(self):
        """The file that is there, without whose it is just now and what libvirt noted on it."""
        snapshot = super().snapshot()
        return snapshot and dict(snapshot, owner=[0, 0], attributes=None)

    def restore(self, snapshot):
        """Write what was there."""
        super().restore(snapshot)
        if snapshot is not None:
            self._label()


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


def extra(meant, there, way=""):
    """Whole elements and attributes that are there and weren't meant, a line each."""
    way = "%s/%s" % (way, there.tag)
    for name in sorted(set(there.attrib) - set(meant.attrib)):
        yield "%s/@%s is %r, and nothing says so" % (way, name, there.get(name))
    counterparts = {}
    for child in meant:
        counterparts.setdefault(_identity(child), []).append(child)
    for child in there:
        same = counterparts.get(_identity(child))
        if same:
            yield from extra(same.pop(0), child, way)
        else:
            yield "%s/%s is too much: %s" % (way, child.tag, _shown(child))


def unlike(meant, there):
    """How two definitions differ, either way."""
    return list(missing(meant, there)) + list(extra(meant, there))


def _identity(element):
    inner, *names = _IDENTITIES.get(element.tag, ("",))
    holder = element.find(inner) if inner else element
    return (element.tag, *tuple("" if holder is None else holder.get(name, "") for name in names))


def _shown(element):
    return _canonical(element)[:120]


def _canonical(element):
    """An element as text, the same for the same meaning."""
    return "" if element is None else ElementTree.tostring(_bare(element), encoding="unicode")


def _bare(element):
    """A copy without comments, layout and the order of attributes."""
    copy = ElementTree.Element(element.tag)
    for name, value in sorted(element.attrib.items()):
        copy.set(name, value)
    copy.text = (element.text or "").strip() or None
    copy.extend([_bare(child) for child in element])
    return copy


class LibvirtItem:
    """An object of libvirt; the subclasses name virsh's commands for it."""

    kind = define = ""
    dump = undefine = names = ()
    keep = ()  # what undefining must not take along

    def __init__(self, host, entry, content):
        self.host = host
        defines = entry["defines"]
        self.name = defines["name"]
        self.uuid = defines["uuid"]
        self.autostart = defines.get("autostart")
        self.validate = defines.get("validate", True)
        self.content = content.decode()
        self.baseline = entry.get("baseline")  # what was put here last, and what libvirt made of it
        self.disruptive = False  # whether guests may lose their link for it

    @property
    def key(self):
        """What it is known by in journals."""
        return "%s/%s" % (self.kind, self.name)

    def snapshot(self):
        """The definitions that are there, persistent and live, and whether it starts by itself; or ``None``."""
        if self.name not in self._names():
            return None
        text = self.host.virsh(*self.dump, self.name)[1]
        return {"xml": text, "autostart": self._starts_by_itself(), "live": self._live_text()}

    def _names(self):
        return [name for name in self.host.virsh(*self.names)[1].split("\n") if name]

    def _starts_by_itself(self):
        return None

    def _live_text(self):
        """The definition that is in effect now, where it runs."""
        return

    def _live(self):
        text = self._live_text()
        return None if text is None else ElementTree.fromstring(text)

    def _persistent(self):
        return ElementTree.fromstring(self.host.virsh(*self.dump, self.name)[1])

    def refusal(self, snapshot):
        """Why it can't be put over what is there; ``None`` where it can."""
        uuid = ElementTree.fromstring(snapshot["xml"]).findtext("uuid") if snapshot else None
        if uuid in (None, self.uuid):
            return None
        return (
            "the %s %s is there with the UUID %s, and the folder's has %s: libvirt redefines it only under its own. "
            "Write `uuid: %s` for it into the inventory, build, and use --adopt %s; or remove or rename the one here"
            % (self.kind, self.name, uuid, self.uuid, uuid, self.name)
        )

    def differences(self, snapshot):
        """How the definition that is there differs from the one that is wanted."""
        if snapshot is None:
            return ["it isn't defined"]
        there, wanted = ElementTree.fromstring(snapshot["xml"]), ElementTree.fromstring(self.content)
        lines = list(self.drift(snapshot))
        if self.baseline is None:
            lines += missing(wanted, there)
            lines += self._unasked(extra(wanted, there))
        elif self.baseline["put"] == self.content:
            lines = ["what was put last is put again"] if lines else []
        else:
            before = ElementTree.fromstring(self.baseline["put"])
            lines = unlike(wanted, before) or ["its text changed"]
        return lines

    def drift(self, snapshot):
        """What somebody changed by hand since it was put; what libvirt added by itself then is in the baseline."""
        if self.autostart is not None and snapshot["autostart"] != self.autostart:
            yield "autostart is %s" % ("on" if snapshot["autostart"] else "off")
        if self.baseline is not None:
            yield from unlike(ElementTree.fromstring(self.baseline["there"]), ElementTree.fromstring(snapshot["xml"]))

    def is_at(self, there, wanted):
        """Whether two snapshots mean the same."""
        if there is None or wanted is None:
            return there is wanted
        before, after = (ElementTree.fromstring(snapshot["xml"]) for snapshot in (there, wanted))
        return there["autostart"] == wanted["autostart"] and not unlike(before, after) and self._runs_as(there, wanted)

    def _runs_as(self, there, wanted):
        return True

    def _unasked(self, lines):
        """Of what is there and wasn't meant: what isn't libvirt's own addition."""
        return lines

    def impact(self, snapshot):
        """What putting it does to what runs, and the guests that feel it."""
        return "live", []

    def put(self):
        """Define what is wanted, and have what runs follow."""
        self._define(self.content)
        self._set_autostart(self.autostart)
        self._follow(self._persistent())
        self.baseline = None  # it is judged by what is wanted now

    def restore(self, snapshot):
        """Define what was there, or nothing where nothing was; says what can't follow yet because guests run."""
        if snapshot is None:
            return self.remove()
        self._define(snapshot["xml"], validate=False)
        self._set_autostart(snapshot["autostart"])
        return self._go_back(snapshot["live"])

    def _follow(self, wanted):
        """Have what runs take what it can of a definition."""

    def _go_back(self, live):
        """Have what runs take what it can of an earlier live definition, ``None`` where it didn't run."""

    def users(self, then=None):
        """The running guests that keep it from being removed now, or ``then`` as `once_made` says."""
        return []

    def remove(self):
        """Undefine it, and say nothing; or say what it waits for."""
        if self.name in self._names():
            keep = [option for option in self.keep if self.host.knows(self.undefine[0], option)]
            self.host.virsh(*self.undefine, self.name, *keep)

    def _define(self, text, validate=True):
        validate = validate and self.validate and self.host.knows(self.define, "--validate")
        self.host.virsh(self.define, "/dev/stdin", *(["--validate"] if validate else []), text=text)

    def _set_autostart(self, wanted):
        return None

    def pending(self):
        """What of it isn't in effect yet."""
        return []


def _field(text, word):
    """One of the fields that virsh tells of an object."""
    rows = dict(row.split(":", 1) for row in text.split("\n") if ":" in row)
    if word not in rows:
        raise Problem("virsh doesn't say %s of it: %r" % (word, text[:80]))
    return rows[word].strip()


def running_guests(host):
    """The running guests' live definitions, by name."""
    names = [name for name in host.virsh("list", "--name")[1].split("\n") if name]
    return {name: ElementTree.fromstring(host.virsh("dumpxml", name)[1]) for name in names}


class FilterItem(LibvirtItem):
    """An nwfilter. Redefining one changes every running guest that uses it at once."""

    kind = "nwfilter"
    define, dump, undefine = "nwfilter-define", ("nwfilter-dumpxml",), ("nwfilter-undefine",)
    names = ("nwfilter-list",)

    def _names(self):
        rows = self.host.virsh(*self.names)[1].split("\n")
        return [row.split(None, 1)[1].strip() for row in rows if row.strip()]

    def users(self, then=None):
        """Those whose interfaces are filtered by it, or by a filter that includes it."""
        running, texts = then or (running_guests(self.host), {})
        names = {name: guest.findall("devices/interface/filterref") for name, guest in running.items()}
        return sorted(name for name in names if any(self._is_in(ref.get("filter"), texts) for ref in names[name]))

    def _is_in(self, name, texts):
        if name == self.name:
            return True
        tree = ElementTree.fromstring(texts.get(name) or self.host.virsh("nwfilter-dumpxml", name)[1])
        return any(self._is_in(reference.get("filter"), texts) for reference in tree.findall("filterref"))

    def remove(self):
        """Undefine it, unless a running guest has it."""
        users = ", ".join(self.users()) if self.name in self._names() else ""
        if users:
            return "the filter %s is on the running guests %s: it goes once they have stopped" % (self.name, users)
        return super().remove()


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
    names = ("net-list", "--all", "--persistent", "--name")

    def _starts_by_itself(self):
        return self._info("Autostart")

    def _info(self, word):
        return _field(self.host.virsh("net-info", self.name)[1], word) == "yes"

    def _live_text(self):
        return self.host.virsh("net-dumpxml", self.name)[1] if self._info("Active") else None

    def _runs_as(self, there, wanted):
        """Whether it runs as it did; what only a restart changes is none of ours where we don't restart it."""
        if there["live"] is None or wanted["live"] is None:
            return there["live"] is wanted["live"]
        live, before = (ElementTree.fromstring(snapshot["live"]) for snapshot in (there, wanted))
        if self.disruptive and (self._beyond(before, live) or list(self._unplugged(live))):
            return False
        return not list(_net_updates(live, before))

    def _unasked(self, lines):
        own = '/network/forward/(interface|address|nat(/port)? is too much: (<nat>)?<port end="65535" start="1024" />)'
        return [line for line in lines if not re.match(own, line)]  # libvirt writes these out, with their guests

    def _beyond(self, wanted, live, fixed=True):
        """How a running network differs from a definition; with ``fixed``, beyond what ``net-update`` changes."""
        wanted, live = _with_masks(wanted), _with_masks(live)
        if fixed and _subnets(wanted) == _subnets(live):
            wanted, live = _without_updatable(wanted), _without_updatable(live)
        return list(missing(wanted, live)) + self._unasked(extra(wanted, live))

    def users(self, then=None):
        """Those that are on it."""
        return list(self.guests(then))

    def guests(self, then=None):
        """The running guests that are on it, with their interfaces."""
        running = then[0] if then else running_guests(self.host)
        plugged = {
            name: [each for each in guest.findall("devices/interface") if _plug(each)[:2] == ("network", self.name)]
            for name, guest in running.items()
        }
        return {name: interfaces for name, interfaces in sorted(plugged.items()) if interfaces}

    def impact(self, snapshot):
        """Whether the running network takes it; else who loses the link when it is restarted."""
        if snapshot is None or snapshot["live"] is None:
            return "live", []
        if not self._beyond(ElementTree.fromstring(self.content), ElementTree.fromstring(snapshot["live"])):
            return "live", []
        return "network restart", self.users()

    def _follow(self, wanted):
        live = self._live()
        if live is None:
            if self.autostart:
                self._start()
            return
        self._update(live, wanted)
        if self.disruptive and self._beyond(wanted, self._running()):
            self._restart()

    def _go_back(self, live):
        now = self._live()
        if live is None:
            return self._stop() if now is not None else None
        if now is None:
            self._start()
        wanted = ElementTree.fromstring(live)
        self._update(self._running(), wanted)
        if self.disruptive:
            if self._beyond(wanted, self._running()):
                self._restart(live)
            self._plug_in()
        return None

    def _start(self):
        self.host.virsh("net-start", self.name)
        self._running()

    def _running(self):
        """The definition in effect of a network that must run."""
        live = self._live()
        if live is None:
            raise Problem("the network %s doesn't run: see libvirt's log for why it ended" % self.name)
        return live

    def _stop(self):
        """Stop it, unless guests are on it; says why not."""
        guests = ", ".join(self.users())
        if guests:
            return "the network %s carries the running guests %s: it goes once they have left it" % (self.name, guests)
        self.host.virsh("net-destroy", self.name)
        if self._info("Active"):
            raise Problem("the network %s still runs: see libvirt's log for why it doesn't end" % self.name)
        return None

    def remove(self):
        """Stop and undefine it, unless guests are on it."""
        if self.name not in self._names():
            return None
        return (self._info("Active") and self._stop()) or super().remove()

    def _set_autostart(self, wanted):
        if wanted is not None and self._starts_by_itself() != wanted:
            self.host.virsh("net-autostart", self.name, *([] if wanted else ["--disable"]))

    def _update(self, live, wanted):
        """Have the running network take what it can of what is wanted."""
        for command, section, index, text in list(_net_updates(live, wanted)):
            self.host.virsh("net-update", self.name, command, section, text, "--live", "--parent-index", str(index))

    def _restart(self, live=None):
        """Stop and start it, as it is defined or as it ran earlier, and plug the guests in again: libvirt doesn't."""
        log.warning("restarting the network %s", self.name)
        persistent = self.host.virsh(*self.dump, self.name)[1]
        if live is not None:
            self._define(live, validate=False)
        self.host.virsh("net-destroy", self.name)
        self._start()
        if live is not None:
            self._define(persistent, validate=False)
        self._plug_in()

    def _plug_in(self):
        """Put the guests' taps on the bridge again; libvirt counts them anew when their interfaces change next."""
        live = self._live()
        for tap, interface in list(self._unplugged(live)):
            self.host.run(("ip", "link", "set", "dev", tap, "master", live.find("bridge").get("name")))
            _isolate(self.host, tap, interface)

    def _unplugged(self, live):
        """The guests' interfaces whose taps aren't on the network's bridge."""
        bridge = live.find("bridge")
        if live.find("virtualport") is not None:
            return  # Open vSwitch keeps its ports by itself
        found = [] if bridge is None else [each for interfaces in self.guests().values() for each in interfaces]
        for interface in found:
            tap = "" if interface.find("target") is None else interface.find("target").get("dev")
            master = "/sys/class/net/%s/master" % tap
            if tap and os.path.basename(os.path.realpath(master)) != bridge.get("name"):
                yield tap, interface

    def pending(self):
        """What the running network doesn't have yet."""
        live = self._live() if self.name in self._names() else None
        lines = self._beyond(self._persistent(), live, fixed=False) if live is not None else []
        if not lines:
            return []
        guests = ", ".join(self.users()) or "nobody"
        return ["the network %s needs a restart, which cuts off %s: %s" % (self.name, guests, "; ".join(lines[:3]))]


def _subnets(network):
    return [dict(ip.attrib) for ip in _with_masks(network).findall("ip")]


def _with_masks(network):
    """A copy of a network's definition whose IPv4 subnets all say their length as a mask; libvirt takes either."""
    network = _bare(network)
    network.attrib.pop("connections", None)
    for ip in network.findall("ip"):
        if ip.get("prefix") and ip.get("family", "ipv4") == "ipv4":
            ip.set("netmask", str(ipaddress.ip_network("0.0.0.0/" + ip.attrib.pop("prefix")).netmask))
    return network


def _net_updates(live, wanted):
    """What to have ``net-update`` do: the command, the section, the parent's number and the element."""
    for section, parent, way in _UPDATABLE:
        if parent == "ip" and _subnets(live) != _subnets(wanted):
            continue  # addresses of another subnet: they wait with it
        before, after = (list(_updatable(network, parent, way)) for network in (live, wanted))
        for command, these, others in (("delete", before, after), ("add-last", after, before)):
            for index, text in these:
                if (index, text) not in others:
                    yield command, section, index, text


def _updatable(network, parent, way):
    """The elements of a section with the number of the parent that they are in, each as canonical text."""
    for index, holder in enumerate(network.findall(parent)):
        for element in holder.findall(way):
            yield (index if parent == "ip" else -1), _canonical(element)


def _without_updatable(network):
    """A copy of a network without what ``net-update`` changes."""
    network = _bare(network)
    for _, parent, way in _UPDATABLE:
        for holder in network.findall(parent):
            inner, _, tag = way.rpartition("/")
            box = holder.find(inner) if inner else holder
            for element in [] if box is None else box.findall(tag):
                box.remove(element)
    for holder, tag in [(network, "dns"), *((ip, "dhcp") for ip in network.findall("ip"))]:
        box = holder.find(tag)
        if box is not None and len(box) == 0 and not box.attrib:
            holder.remove(box)
    return network


def _isolate(host, tap, interface):
    """A tap's isolation stands at its bridge's port, and went with it."""
    port = interface.find("port")
    if port is not None and port.get("isolated") == "yes":
        host.run(("bridge", "link", "set", "dev", tap, "isolated", "on"))


_LIVE_PARTS = ("bandwidth", "filterref", "link")
"""What ``virsh update-device --live`` changes of a running guest's interface, next to what it is plugged into."""

_OWN_OF_RUNNING = re.compile(
    r"/domain/(currentMemory|title|description|metadata)\b"
    r"|/domain/cpu/(@|model|feature|vendor|maxphysaddr)"
    r"|/graphics/@(port|websocket|tlsPort)"
)
"""Where a running guest says what is the case instead of what was asked for, or where it makes no difference."""


class DomainItem(LibvirtItem):
    """A guest's domain. A running guest takes what libvirt can change live, and the rest when it starts next."""

    kind = "domain"
    define, dump, undefine = "define", ("dumpxml", "--inactive", "--security-info"), ("undefine",)
    names = ("list", "--all", "--persistent", "--name")
    keep = ("--keep-nvram", "--keep-tpm")

    def _info(self, word):
        return _field(self.host.virsh("dominfo", self.name)[1], word)

    def _starts_by_itself(self):
        return self._info("Autostart") == "enable"

    def _runs(self):
        return self._info("State") not in ("shut off", "crashed")

    def _live_text(self):
        return self.host.virsh("dumpxml", self.name)[1] if self._runs() else None

    def _runs_as(self, there, wanted):
        """Whether interfaces are the same; a guest that started or stopped meanwhile did so by itself."""
        if there["live"] is None or wanted["live"] is None:
            return True
        live, before = (ElementTree.fromstring(snapshot["live"]) for snapshot in (there, wanted))
        return not list(_to_update(live, before))

    def _unasked(self, lines):
        devices = re.compile("/domain/devices/(interface|disk|hostdev|filesystem)( |/filterref)")
        return [line for line in lines if devices.match(line)]

    def refusal(self, snapshot):
        """Beside the UUID: a disk that was moved to another image, by a snapshot for example."""
        if snapshot is not None and self.baseline is not None:
            there, before, wanted = (_images(text) for text in (snapshot["xml"], self.baseline["there"], self.content))
            for disk, image in sorted(there.items()):
                if disk in before and image not in (before[disk], wanted.get(disk)):
                    return (
                        "the disk %s of the guest %s was moved by hand to the image %s: putting the old one back would "
                        "lose data. Merge the snapshot (virsh blockcommit), or name the image in the inventory"
                        % (disk, self.name, image)
                    )
        return super().refusal(snapshot)

    def impact(self, snapshot):
        """Whether a running guest takes it, or has it when it starts next."""
        if snapshot is None or snapshot["live"] is None:
            return "live", []
        before = self.baseline["put"] if self.baseline else snapshot["xml"]
        now, then = (_without_live_parts(ElementTree.fromstring(text)) for text in (before, self.content))
        lines = list(missing(then, now))
        lines += extra(then, now) if self.baseline else self._unasked(extra(then, now))
        waiting = [line for line in lines if not re.match(r"/domain/(title|description|metadata)\b", line)]
        return ("guest restart", [self.name]) if waiting else ("live", [])

    def _follow(self, wanted):
        live = self._live()
        if live is not None:
            for interface in _to_update(live, wanted):
                _update_device(self.host, self.name, interface)

    def _go_back(self, live):
        if live is not None:
            self._follow(ElementTree.fromstring(live))

    def users(self, then=None):
        """The guest itself, while it runs or has more to it than its definition."""
        return [self.name] if self.name in self._names() and self._holds() else []

    def _holds(self):
        """What keeps the definition; libvirt doesn't undefine a guest that has a saved state or snapshots."""
        if self._runs():
            return "the guest %s runs: its definition goes once it has been shut down" % self.name
        if self._info("Managed save") == "yes":
            return "the guest %s has a saved state: `virsh managedsave-remove` drops that" % self.name
        if self.host.virsh("snapshot-list", self.name, "--name")[1].strip():
            return "the guest %s has snapshots: `virsh snapshot-delete --metadata` forgets them" % self.name
        return None

    def remove(self):
        """Undefine it, unless it runs; disks and NVRAM stay."""
        return (self._holds() if self.name in self._names() else None) or super().remove()

    def _set_autostart(self, wanted):
        if wanted is not None and self._starts_by_itself() != wanted:
            self.host.virsh("autostart", self.name, *([] if wanted else ["--disable"]))

    def pending(self):
        """What the running guest doesn't have yet."""
        live = self._live() if self.name in self._names() else None
        if live is None:
            return []
        persistent = self._persistent()
        then, now = _without_live_parts(persistent), _without_live_parts(live)
        lines = [line for line in missing(then, now) if not _OWN_OF_RUNNING.search(line)]
        lines += self._unasked(extra(then, now))
        lines += ["the interface %s is as it was" % _mac(interface) for interface in _to_update(live, persistent)]
        return ["the guest %s needs a restart: %s" % (self.name, "; ".join(lines[:3]))] if lines else []


def _images(text):
    """What each disk is on, by its target."""
    disks = ElementTree.fromstring(text).findall("devices/disk")
    return {disk.find("target").get("dev"): _image(disk.find("source")) for disk in disks}


def _image(source):
    names = ("file", "dev", "pool", "volume", "name")
    return None if source is None else "/".join(source.get(name) for name in names if source.get(name))


def _mac(interface):
    return interface.find("mac").get("address").lower()


def _plug(interface):
    """What an interface is plugged into: a network (whatever stands behind it) or a bridge; empty for others."""
    source = interface.find("source")
    if source is None:
        return ()
    if source.get("network"):
        return ("network", source.get("network"), source.get("portgroup"))
    return ("bridge", source.get("bridge")) if interface.get("type") == "bridge" else ()


def _without_live_parts(domain):
    """A copy of a domain without what ``update-device`` changes."""
    domain = _bare(domain)
    for interface in domain.findall("devices/interface"):
        if _plug(interface):
            interface.attrib.pop("type")
            interface.remove(interface.find("source"))
        for part in _LIVE_PARTS:
            for element in interface.findall(part):
                interface.remove(element)
    return domain


def _to_update(live, wanted):
    """The interfaces of a running guest that are to be changed, as libvirt is to be given them."""
    there = {_mac(interface): interface for interface in live.findall("devices/interface")}
    for interface in wanted.findall("devices/interface"):
        running = there.get(_mac(interface))
        if running is not None and (_plug(running), _parts(running)) != (_plug(interface), _parts(interface)):
            yield _updated(running, interface)


def _parts(interface):
    """The parts of an interface that can be changed live; a link is up unless it says otherwise."""
    found = {part: _canonical(interface.find(part)) for part in _LIVE_PARTS}
    link = interface.find("link")
    return dict(found, link="up" if link is None else link.get("state"))


def _updated(live, wanted):
    """A running interface with the parts of another: libvirt wants all else as it is."""
    interface = _bare(live)
    for part in _LIVE_PARTS:
        for element in interface.findall(part):
            interface.remove(element)
        if wanted.find(part) is not None:
            interface.append(wanted.find(part))
    if live.find("link") is not None and interface.find("link") is None:
        ElementTree.SubElement(interface, "link", state="up")
    if _plug(live) and _plug(wanted):
        _plug_into(interface, *_plug(wanted))
    return interface


def _plug_into(interface, kind, name, portgroup=None):
    """Name the network itself: a running interface shows the bridge behind it as well."""
    interface.set("type", kind)
    interface.remove(interface.find("source"))
    source = ElementTree.SubElement(interface, "source", {kind: name})
    if portgroup:
        source.set("portgroup", portgroup)


def _update_device(host, guest, interface):
    text = ElementTree.tostring(interface, encoding="unicode")
    try:
        host.virsh("update-device", guest, "/dev/stdin", "--live", text=text)
    except Problem as problem:
        if "not supported" not in str(problem):
            raise
        log.warning("the running guest %s keeps its interface until it is restarted: %s", guest, problem)


_ITEMS = {"network": NetworkItem, "nwfilter": FilterItem, "domain": DomainItem}


def item_of(host, entry, content=b""):
    """The item of a manifest's entry; ``None`` for what belongs inside a guest."""
    if entry["kind"] == "guest-file":
        return None
    if entry["path"].startswith(Nftables.place):
        return NftablesFile(host, entry, content)
    if entry["kind"] == "seed":
        return SeedItem(host, entry, content)
    return _ITEMS.get(entry["kind"], FileItem)(host, entry, content)


# -- what to do --------------------------------------------------------------------------------------------------------


class Change:
    """One item to put or to remove, and what that does."""

    def __init__(self, item, entry, verb, snapshot, details=(), impact="live", wanted=None):
        self.item = item
        self.entry = entry
        self.verb = verb  # create, change, adopt, restart, remove or restore
        self.snapshot = snapshot  # what is there before
        self.details = list(details)
        self.impact = impact  # live, later, network restart, guest restart, management or waits
        self.guests = []  # those that feel it
        self.wanted = wanted  # the snapshot to restore
        self.waits = None  # why it couldn't be removed yet
        self.there = None  # the snapshot afterwards

    @property
    def is_of_file(self):
        """Whether it is a file that changes, not an object of libvirt."""
        return isinstance(self.item, FileItem)

    def do(self):
        """Make the change."""
        if self.verb == "remove":
            self.waits = self.item.remove()
        elif self.verb == "restore":
            self.waits = self.item.restore(self.wanted)
        else:
            self.item.put()

    def redo(self):
        """Restore what isn't as it was, and hold the host to it."""
        if isinstance(self.item, FileItem):
            clean_up(os.path.dirname(self.item.host.path(self.item.name)))
        if not self.item.is_at(self.item.snapshot(), self.wanted):
            self.waits = self.item.restore(self.wanted)
        left = self.left()
        if left:
            raise Problem("; ".join(left))

    def left(self):
        """What isn't as it was meant, once the change is made."""
        there = self.there = self.item.snapshot()
        if self.waits:
            lines = []
        elif self.verb == "remove":
            lines = [] if there is None else ["it is still there"]
        elif self.verb == "restore":
            lines = [] if self.item.is_at(there, self.wanted) else ["it isn't what was there"]
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
            "guests": self.guests,
            "details": self.details,
        }


def changes_to(host, folder, state, adopted, disruptive=()):
    """Everything that must be done for the host to be equal to the folder, in order; refused where it isn't ours.

    ``disruptive`` names networks that may be restarted although guests are on them.
    """
    owned = {item.key: (item, entry) for item, entry in _items(host, state["files"])}
    wanted = [(item_of(host, entry, folder.contents[path]), entry) for path, entry in folder.entries.items()]
    wanted = [(item, entry) for item, entry in wanted if item is not None]
    doubles = list(rivals(host, folder.texts, {item.key for item, _ in wanted} | set(owned)))
    unknown = set(adopted) - {item.name for item, _ in wanted} - {change.item.name for change in doubles}
    if unknown:
        raise Misused("--adopt %s: the manifest has nothing of that name" % ", ".join(sorted(unknown)))
    changes, foreign = [], []
    for item, entry in wanted:
        snapshot, (was, _) = item.snapshot(), owned.get(item.key, (None, None))
        if isinstance(item, LibvirtItem):
            item.baseline = was.baseline if was else None
            item.disruptive = item.name in disruptive
        details = item.differences(snapshot)
        if was and not details and item.kind == "network" and item.name in disruptive and item.pending():
            changes.append(Change(item, entry, "restart", snapshot, item.pending()))
        if not details and was:
            continue
        if snapshot is not None and details and not was and item.name not in adopted:
            foreign.append(item)
        verb = "create" if snapshot is None else "change" if was else "adopt"
        details = ["changed by hand: %s" % line for line in _by_hand(was, snapshot)] + details
        changes.append(Change(item, entry, verb, snapshot, details, _impact(item)))
    changes += _removals(host, {item.key for item, _ in wanted}, owned)
    for change in doubles:
        if change.item.name not in adopted:
            words = "/%s: %s, and a device with two comes up with either. Move it away, or --adopt %s removes it"
            raise Problem(words % (change.item.name, change.details[0], shlex.quote(change.item.name)))
    changes += doubles
    if foreign:
        names = ", ".join("%s %s" % (item.kind, item.name) for item in foreign)
        words = " ".join("--adopt %s" % item.name for item in foreign)
        raise Problem("not kvmgen's, and different: %s. To take them over: %s" % (names, words))
    goes = any(change.verb == "remove" and not change.is_of_file for change in changes)
    then = once_made(host, changes) if goes else None
    for change in changes:
        refusal = change.item.refusal(change.snapshot) if change.verb != "remove" or change.is_of_file else None
        if refusal:
            raise Problem(refusal)
        _tell_impact(change, then)
    return changes


def once_made(host, changes):
    """The running guests, and the changed filters' texts, once changes are made: removals come last.

    A running guest leaves a network or a filter live where its definition says so.
    """
    wanted = {(change.item.kind, change.item.name): change.item for change in changes if change.verb != "remove"}
    running = running_guests(host)
    for name, guest in running.items():
        item, devices = wanted.get(("domain", name)), guest.find("devices")
        there = {_mac(interface): interface for interface in devices.findall("interface")}
        for interface in list(_to_update(guest, ElementTree.fromstring(item.content))) if item else ():
            devices.remove(there[_mac(interface)])
            devices.append(interface)
    return running, {name: item.content for (kind, name), item in wanted.items() if kind == "nwfilter"}


def _items(host, entries):
    """The items of a manifest's entries without content, which is enough to look at them and to remove them."""
    for entry in entries:
        item = item_of(host, entry)
        if item is not None:
            yield item, entry


def _by_hand(was, snapshot):
    """What somebody did by hand to what an earlier manifest put there; it is overwritten, and a rollback has it."""
    if was is None:
        return []
    return ["it is gone"] if snapshot is None else list(was.drift(snapshot))


def _removals(host, wanted, owned):
    """What a manifest once put here and this one doesn't, the last kind first."""
    for key, (item, entry) in reversed(list(owned.items())):
        snapshot = None if key in wanted else item.snapshot()
        if snapshot is not None:
            details = ["changed by hand: %s" % line for line in _by_hand(item, snapshot)]
            yield Change(item, entry, "remove", snapshot, details, _impact(item))


def _impact(item):
    """What a file's change does, as far as the file alone says it."""
    return "management" if item.kind == Firewalld.kind and not isinstance(item, NftablesFile) else "live"


def _tell_impact(change, then):
    """What a change does to what runs in libvirt."""
    item, snapshot = change.item, change.snapshot
    if not isinstance(item, LibvirtItem):
        return
    if change.verb == "remove":
        change.guests = item.users(then)
        change.impact = "waits" if change.guests else "live"
        return
    if change.verb != "adopt" or change.details:
        change.impact, change.guests = item.impact(snapshot)


def management_links(host):
    """The links on the way to whoever administers this host: the session's, else the default route's, and below.

    Of a session both ways count: the link that has the address it came to, and the one that its answers leave by.
    """
    if not host.is_live or not host.has("ip"):
        return set()
    session = os.environ.get("SSH_CONNECTION", "").split()
    if session:
        client, address = (word.split("%")[0] for word in (session[0], session[2]))
        rows = _ip(host, "address", "show")
        found = {row[1].split("@")[0] for row in rows if row[3].split("/")[0] == address}
        routes = _ip(host, "route", "get", client)
    else:
        found = set()
        routes = _ip(host, "-4", "route", "show", "default") + _ip(host, "-6", "route", "show", "default")
    found.update(row[row.index("dev") + 1] for row in routes if "dev" in row)
    return found.union(*(_below(link) for link in found))


def _ip(host, *words):
    """The rows of an answer of ``ip``."""
    return [row.split() for row in host.run(("ip", "-o", *words), check=False)[1].splitlines()]


def _below(link):
    """A link and everything that it stands on."""
    folder = "/sys/class/net/%s" % link
    try:
        lower = {name[len("lower_") :] for name in os.listdir(folder) if name.startswith("lower_")}
    except OSError:
        return {link}
    return {link}.union(*(_below(name) for name in lower))


# -- the running host: kernel and firewall -----------------------------------------------------------------------------
#
# A class for each kind of file that the running host follows: ``texts`` are our files of the kind, by path. `follow`
# has the host read them, `lacks` says what it holds otherwise than they say, `waits` what can't be in effect yet.


class Modules:
    """Kernel modules. They are loaded, and never unloaded: something else may have come to use them."""

    kind = "modules"

    def __init__(self, host, texts):
        self.host = host
        self.texts = texts

    def follow(self):
        """Load what our files name."""
        if self.texts:
            self.host.run((_systemd("systemd-modules-load"), *map(self.host.path, self.texts)), check=False)

    def lacks(self):
        """Nothing: a module that isn't there waits, as do the settings that it brings."""
        return []

    def waits(self):
        """The modules that aren't loaded."""
        for name in [line.strip() for text in self.texts.values() for line in text.splitlines()]:
            if name[:1] not in ("", "#", ";") and not self._is_loaded(name.replace("-", "_")):
                yield "the module %s isn't loaded: `modprobe %s` says why" % (name, name)

    def _is_loaded(self, name):
        built_in = "/lib/modules/%s/modules.builtin" % os.uname().release
        if os.path.isdir("/sys/module/%s" % name):
            return True
        try:
            with open(built_in) as stream:
                return any(line.rstrip().replace("-", "_").endswith("/%s.ko" % name) for line in stream)
        except OSError:
            return False


class Sysctl:
    """Kernel settings. Only the keys of our files are touched, by all files' order: a later file of others' may win."""

    kind = "sysctl"

    def __init__(self, host, texts):
        self.host = host
        self.texts = texts

    @property
    def meant(self):
        """The values that our files give, by their place below /proc/sys; the last file by name counts."""
        files = sorted(self.texts.items(), key=lambda known: os.path.basename(known[0]))
        return {place: value for _, text in files for place, value in settings(text)}

    def follow(self):
        """Have our keys set."""
        prefixes = ["--prefix=/" + place for place in self.meant]
        if prefixes:
            self.host.run((_systemd("systemd-sysctl"), *prefixes), check=False)  # `lacks` says what it didn't do

    def lacks(self):
        """The keys that have other values than our files say."""
        for place, value in self.meant.items():
            now = kernel_value(place)
            if now not in (None, value):
                yield "the kernel's %s is %s, not %s: another file of sysctl.d may win" % (place, now, value)

    def waits(self):
        """The keys that the kernel doesn't have, such as a bridge's before the module br_netfilter."""
        for place, value in self.meant.items():
            if kernel_value(place) is None:
                yield "the kernel has no %s yet, which is to be %s" % (place, value)


def settings(text):
    """The settings of a file of sysctl.d: a place below /proc/sys and a value each."""
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        key = key.strip().lstrip("-")
        if not equals or key.startswith(("#", ";")):
            continue
        if "/" not in key or -1 < key.find(".") < key.find("/"):
            key = key.translate({ord("."): "/", ord("/"): "."})
        yield key, " ".join(value.split())


def kernel_value(place):
    """The value of a kernel setting; ``None`` where there is no such setting."""
    try:
        with open("/proc/sys/" + place) as stream:
            return " ".join(stream.read().split())
    except OSError:
        return None


def kernel_values(host, changes):
    """The kernel's values of every setting that changed files name, now or then: what a rollback sets again.

    The files alone don't bring them back: a key that no file names any more keeps its last value.
    """
    if not host.is_live:
        return {}
    texts = []
    for change in changes:
        if change.item.kind == Sysctl.kind:
            known = [snapshot for snapshot in (change.snapshot, change.wanted) if snapshot]
            texts += [base64.b64decode(snapshot["content"]) for snapshot in known] + [change.item.content]
    return {place: kernel_value(place) for text in texts for place, _ in settings(text.decode(errors="replace"))}


def set_kernel(values):
    """Give settings the values that they had."""
    for place, value in values.items():
        if value is not None and kernel_value(place) not in (None, value):
            with open("/proc/sys/" + place, "w") as stream:
                stream.write(value + "\n")


class Udev:
    """udev's rules."""

    kind = "udev"

    def __init__(self, host, texts):
        self.host = host

    def follow(self):
        """Have the rules read; udev looks for new ones by itself, so that this only makes it sooner."""
        if self.host.has("udevadm"):
            self.host.run(("udevadm", "control", "--reload"), check=False)

    def lacks(self):
        """Nothing: what udev holds can't be asked for."""
        return []

    waits = lacks


class Firewalld:
    """firewalld's zones, policies, direct rules and settings."""

    kind = "firewall"
    place = "etc/firewalld/"

    def __init__(self, host, texts):
        self.host = host
        self.texts = texts

    def _state(self):
        """What ``firewall-cmd --state`` ends with: 0 it runs, 251 it failed, 252 it doesn't run."""
        return self.host.run(("firewall-cmd", "--state"), check=False)[0] if self.host.has("firewall-cmd") else 252

    def follow(self):
        """Have a running firewalld load its files anew, and see libvirt's rules return.

        A reload flushes those as well. libvirt hears of it and puts them back; until then its guests' filters and its
        networks' NAT are gone.
        """
        state, rules = self._state(), _libvirts_rules(self.host)
        if state == 252:
            return
        self.host.run(("firewall-cmd", "--reload"), check=state == 0)  # one that had failed is judged by `lacks`
        deadline = time.monotonic() + self.host.timeout
        while not rules <= _libvirts_rules(self.host):
            if time.monotonic() > deadline:
                raise Problem("libvirt didn't put its rules back after firewalld's reload: restart libvirtd")
            time.sleep(0.1)

    def waits(self):
        """Our files are only files where firewalld doesn't run."""
        return ["firewalld doesn't run: its files count when it starts"] if self.texts and self._state() == 252 else []

    def lacks(self):
        """What the running firewalld doesn't hold of our files: one bad direct rule drops them all."""
        state = self._state()
        if state == 252:
            return
        if state:
            yield "firewalld's state is failed: its log names the rule that it refuses"
        for path, text in self.texts.items():
            if path.endswith(".conf"):
                continue  # firewall-cmd can't be asked for settings; a reload reads them
            root = ElementTree.fromstring(text)
            if root.tag == "direct":
                yield from self._lacks_direct(root)
            else:
                yield from self._lacks_of(root.tag, os.path.basename(path)[: -len(".xml")], root)

    def _lacks_direct(self, root):
        """Chains and rules, word by word: firewall-cmd quotes some of them for a shell."""
        for tag, question in (("chain", "--get-all-chains"), ("rule", "--get-all-rules")):
            there = [shlex.split(line) for line in self._ask("--direct", question).splitlines()]
            for element in root.iter(tag):
                names = ("ipv", "table", "chain") + (("priority",) if tag == "rule" else ())
                words = [element.get(name) for name in names] + shlex.split(element.text or "")
                if words not in there:
                    yield "firewalld doesn't have the %s %s" % (tag, " ".join(words))

    def _lacks_of(self, kind, name, root):
        """Of a zone or a policy."""
        if name not in self._ask("--get-zones" if kind == "zone" else "--get-policies").split():
            yield "firewalld doesn't have the %s %s" % (kind, name)
            return
        facts, _, rules = self._ask("--info-%s=%s" % (kind, name)).partition("rich rules:")
        rows = [row.partition(":") for row in facts.splitlines()]
        there = {key.strip(): set(value.split()) for key, _, value in rows}
        there["rules"] = {row.strip() for row in rules.splitlines() if row.strip()}
        for tag, words in _WORDS.items():
            meant = {words(element) for element in root.findall(tag)}
            found = there.get(tag + "s", set())
            for word in sorted(meant - found):
                yield "firewalld's %s %s doesn't have the %s %s" % (kind, name, tag, word)
            if tag not in ("interface", "source"):  # which may have been added by who owns them
                for word in sorted(found - meant):
                    yield "firewalld's %s %s also has the %s %s" % (kind, name, tag, word)

    def _ask(self, *question):
        return self.host.run(("firewall-cmd", *question))[1]


def _rich(rule):
    """A rich rule as firewall-cmd prints it: attributes in quotes, `rule` with its priority first."""
    parts = ["rule"] + ['%s="%s"' % (key, rule.get(key)) for key in ("priority", "family") if rule.get(key)]
    for element in rule:
        parts += [element.tag] + ['%s="%s"' % pair for pair in element.items()]
    return " ".join(parts)


_WORDS = {
    "interface": lambda element: element.get("name"),
    "source": lambda element: element.get("address"),
    "service": lambda element: element.get("name"),
    "port": lambda element: "%s/%s" % (element.get("port"), element.get("protocol")),
    "ingress-zone": lambda element: element.get("name"),
    "egress-zone": lambda element: element.get("name"),
    "rule": _rich,
}
"""What zones and policies hold, by its element, and how firewall-cmd prints it."""


class Nftables:
    """nftables' tables of our own, one a file, which nobody else touches."""

    kind = "firewall"
    place = "etc/nftables/"

    def __init__(self, host, texts):
        self.host = host
        self.texts = texts

    def follow(self):
        """Load our files, each of which replaces its table as a whole, and delete the table of one that is gone."""
        for path in self.texts:
            self.host.run(("nft", "-f", self.host.path(path)))
        if not self.texts and self._table():
            self.host.run(("nft", "delete", "table", *_TABLE))

    def lacks(self):
        """Whether our table is other than what its file makes in a network namespace without any."""
        for path in self.texts:
            load_and_list = ("sh", "-ec", 'nft -f "$0"; nft -s list table "$@"', self.host.path(path), *_TABLE)
            there, meant = self._table(), self.host.run(("unshare", "--net", *load_and_list))[1]
            if there != meant:
                what = "was changed" if there else "isn't loaded"
                yield "nftables' table %s %s: `nft -f /%s` loads it" % (" ".join(_TABLE), what, path)

    def waits(self):
        """Nothing: what is there is loaded at once."""
        return []

    def _table(self):
        """Our table as it is loaded; nothing where there is none."""
        return self.host.run(("nft", "-s", "list", "table", *_TABLE), check=False)[1] if self.host.has("nft") else ""


_TABLE = ("bridge", "kvmgen")


class NftablesFile(FileItem):
    """A file of nftables', which must load before anything is changed for it."""

    def refusal(self, snapshot):
        """Also why nft wouldn't take it."""
        refusal = super().refusal(snapshot)
        if refusal or not self.content or not self.host.is_live:
            return refusal
        if not self.host.has("nft"):
            return "/%s needs nft, which isn't there: install the package nftables" % self.name
        try:
            self.host.run(("nft", "-c", "-f", "-"), text=self.content.decode(errors="replace"))
        except Problem as problem:
            return "/%s can't be loaded here, and guests would start without what it does. %s" % (self.name, problem)
        return None


class Units:
    """systemd's units, or parts of them. The programs that they are of are left running as they are."""

    kind = "unit"
    place = "etc/systemd/"

    def __init__(self, host, texts):
        self.host = host

    def follow(self):
        """Have systemd read them."""
        if os.path.isdir("/run/systemd/system"):
            self.host.run(("systemctl", "daemon-reload"))

    def lacks(self):
        """Nothing: a part of a unit counts when that starts."""
        return []

    waits = lacks


def _libvirts_rules(host):
    """The rules in chains of libvirt's own: of its networks, and of its guests' filters."""
    programs = [name for name in ("iptables-save", "ip6tables-save", "ebtables-save") if host.has(name)]
    lines = [(name, line) for name in programs for line in host.run((name,), check=False)[1].splitlines()]
    return {known for known in lines if re.match(r"-A (LIBVIRT_|libvirt-|[FH][IO]-)", known[1])}


def _systemd(program):
    """The place of one of systemd's own programs."""
    places = [folder + program for folder in ("/usr/lib/systemd/", "/lib/systemd/")]
    return next((place for place in places if os.path.exists(place)), places[0])


_KERNEL = (Modules, Sysctl, Udev)
_LATE = (Firewalld, Nftables, Units)  # after the links
_RUNNING = (*_KERNEL, *_LATE)


def texts_of(host, entries, kind):
    """A manifest's files of a kind, as they are on disk now, by path."""
    texts = {}
    for entry in entries:
        snapshot = FileItem(host, entry, b"").snapshot() if entry["kind"] == kind else None
        if snapshot is not None:
            texts[entry["path"]] = base64.b64decode(snapshot["content"]).decode(errors="replace")
    return texts


def of_kind(host, entries, running):
    """One of the classes above with a manifest's files of its kind, and below its place where two have one kind."""
    texts = texts_of(host, entries, running.kind)
    return running(host, {path: text for path, text in texts.items() if path.startswith(getattr(running, "place", ""))})


def lacking(host, entries, kinds=None):
    """What the running host holds otherwise than a manifest's files say, of some kinds or of all."""
    if not host.is_live:
        return []
    found = [of_kind(host, entries, running) for running in _RUNNING if kinds is None or running.kind in kinds]
    return [line for running in found for line in running.lacks()]


def waiting(host, entries):
    """What of a manifest's files can't be in effect yet."""
    if not host.is_live:
        return []
    return [line for running in _RUNNING for line in of_kind(host, entries, running).waits()]


# -- the running host: links -------------------------------------------------------------------------------------------
#
# A link that isn't up is started. One that is up takes what can be changed live; for all else it runs on as it is,
# because whoever uses it would be cut off, until it is named with --disruptive or the host starts anew. Never is the
# whole network restarted.

_IFCFGS = "etc/sysconfig/network-scripts/"
_KEYFILES = "etc/NetworkManager/system-connections/"


def _device(path):
    """The device of one of kvmgen's ifcfg, route or keyfiles; Open vSwitch has some with one device."""
    return re.sub(r"^(ifcfg|route6?|rule6?|keys)-|(\.ovs-\w+)?\.nmconnection$", "", os.path.basename(path))


class Link:
    """What an ifcfg file or a keyfile says of a link, in one form, and what starts and stops it."""

    def __init__(self, path, text, tool=None):
        self.path = path
        self.tool = tool
        read = self._read_keyfile if path.startswith(_KEYFILES) else self._read_ifcfg
        read(text)

    def _read_ifcfg(self, text):
        keys = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
        self.device, self.uuid = keys.get("DEVICE") or _device(self.path), None
        self.parent, self.controller = keys.get("PHYSDEV"), keys.get("BRIDGE") or keys.get("MASTER")
        self.type, self.mac = None, None
        self.addresses = ["%s/%s" % (keys["IPADDR"], keys.get("PREFIX", "32"))] if "IPADDR" in keys else []
        self.addresses += [keys["IPV6ADDR"]] if "IPV6ADDR" in keys else []

    def _read_keyfile(self, text):
        keys = keyfile(text)
        self.device, self.uuid = keys.get("connection.interface-name"), keys.get("connection.uuid")
        self.parent = keys.get("vlan.parent")
        self.controller = keys.get("connection.controller") or keys.get("connection.master")
        self.type, self.mac = keys.get("connection.type"), keys.get("ethernet.mac-address", "").lower()
        self.addresses = [keys[key].split(",")[0] for key in sorted(keys) if re.match("ipv[46].address[0-9]", key)]

    def is_for(self, other):
        """Whether another file's device is this one's: both would have it. A profile without a device takes any NIC."""
        if self.device:
            return self.device == other.device
        return self.type == other.type == "ethernet" and self.mac in ("", other.mac)


def keyfile(text):
    """A keyfile's settings, as ``section.key``."""
    found, section = {}, ""
    for line in map(str.strip, text.splitlines()):
        key, equals, value = line.partition("=")
        if line.startswith("["):
            section = line.strip("[]")
        elif equals and not line.startswith("#"):
            found["%s.%s" % (section, key.strip())] = value.strip()
    return found


class NetworkScripts:
    """network-scripts' ifup and ifdown. Nothing of a link that runs is changed."""

    absence = "no ifup"
    has_profiles = False  # what a device runs by is its file
    patience = 0  # seconds until a link has what its file says

    def __init__(self, host):
        self.host = host

    def is_there(self):
        """Whether links can be started by it."""
        return self.host.has("ifup")

    def runs(self, link):
        """Whether a link is up."""
        return is_up(link.device)

    def can_reapply(self, link, before, after):
        """Whether a link that runs can take a changed file."""
        return False

    def start(self, device, uuid):
        """Start a device."""
        log.info("ifup %s", device)
        self.host.run(("ifup", device))

    def stop(self, device):
        """Stop a device."""
        log.info("ifdown %s", device)
        self.host.run(("ifdown", device), check=False)

    def lacks(self, link):
        """What it says of a link that runs otherwise than its file says."""
        return []


_BEHIND = ("ovs-port", "ovs-bridge")
"""What Open vSwitch has behind a link, and NetworkManager takes for devices of the same name."""


class NetworkManager:
    """NetworkManager, which reads a file when it is told to, and only then lets go of one that is gone.

    So it is told of the files of links that are changed or started, and of no others: it would at once start what is to
    wait, and stop what is to run on. Activating a profile takes guests' taps off a bridge, even where NetworkManager
    only takes over what is there; reapplying one doesn't.
    """

    absence = "NetworkManager doesn't run"
    has_profiles = True
    live = re.compile(r"connection\.(id|zone)|ethernet\.mtu|ipv[46]\..*|bridge\.(?!stp$|mac-address$).*")
    """What it changes in a link that runs; STP is left out, because a bridge that starts it holds all frames back."""

    patience = 15

    def __init__(self, host):
        self.host = host
        self._known = None  # it is asked once: whoever waits for something asks another
        self._switched = set()

    def _devices(self):
        """Its state of each device, the UUID of the profile that is active there, and the activation."""
        if self._known is None:
            ask = ("nmcli", "-t", "-f", "DEVICE,TYPE,STATE,CON-UUID,CON-PATH", "device")
            rows = self.host.run(ask, check=False)[1].splitlines() if self.host.has("nmcli") else []
            rows = [row.split(":") for row in rows]
            self._known = {row[0]: row[2:] for row in rows if row[1] not in _BEHIND}
            self._switched = {row[0] for row in rows if row[1] in _BEHIND}
        return self._known

    def _of(self, device):
        return self._devices().get(device, ["", "", ""])

    def is_there(self):
        """Whether it runs."""
        return bool(self._devices())

    def runs(self, link):
        """Whether a link is up and in use; it switches on NICs that nobody uses as well."""
        used = not self.is_there() or self._of(link.device)[1] == link.uuid or _is_in_use(self.host, link.device)
        return used and is_up(link.device)

    def can_reapply(self, link, before, after):
        """Whether a link that runs can take a changed file."""
        before, after = keyfile(before), keyfile(after)
        if link.device in self._switched:  # nmcli has no way to say which of its devices is meant
            return False
        changed = [key for key in set(before) | set(after) if before.get(key) != after.get(key)]
        return self._of(link.device)[1] == link.uuid and all(self.live.fullmatch(key) for key in changed)

    def profile(self, device):
        """What a device runs by; nothing where NetworkManager only looks on."""
        return None if self.looks_on(device) else self._of(device)[1] or None

    def looks_on(self, device):
        """Whether a device was set up by another, such as a person with ``ip``."""
        return self._of(device)[0].endswith("(externally)")

    def activation(self, device):
        """What is another each time that a profile is activated."""
        return self._of(device)[2]

    def read(self, paths):
        """Have it read files, or see that they are gone. Where it refuses one, nmcli says so and exits 0 all the same.

        Of ifcfg files that is no wonder: el10's reads none.
        """
        ask = ("sh", "-c", 'exec nmcli connection load "$@" 2>&1', "sh", *map(self.host.path, paths))
        refused = [line for line in self.host.run(ask)[1].splitlines() if _KEYFILES in line]
        if refused:
            raise Problem("NetworkManager: %s. Its log says why" % "; ".join(refused))

    def start(self, device, uuid, wait=True):
        """Activate a profile, unless that happened by itself when its file was read; any for the device without one."""
        if uuid is None or self.profile(device) != uuid:
            log.info("nmcli connection up %s (%s)", uuid, device)
            patience = str(max(1, self.host.timeout - 5) if wait else 0)
            what = ("uuid", uuid) if uuid else ("ifname", device)
            self.host.run(("nmcli", "--wait", patience, "connection", "up", *what))

    def reapply(self, link):
        """Have a link that runs take what its file says now."""
        log.info("nmcli device reapply %s", link.device)
        try:
            self.host.run(("nmcli", "device", "reapply", link.device))
        except Problem as problem:
            raise Problem("%s. This NetworkManager needs --disruptive %s for it" % (problem, link.device))

    def stop(self, device):
        """Stop a device, whatever it runs by; it isn't started again by itself. A switch goes with its files alone."""
        words = ("device", "disconnect", device)
        if self.profile(device) and device in self._switched:
            words = ("connection", "down", "uuid", self.profile(device))
        log.info("nmcli %s", " ".join(words))
        self.host.run(("nmcli", *words), check=False)

    def lacks(self, link):
        """What it says of a link that runs otherwise than its file says."""
        if self.is_there() and link.uuid and self._of(link.device)[1] != link.uuid:
            yield "the link %s doesn't run by /%s" % (link.device, link.path)


def _tool(host, path):
    """What starts and stops the link of a file: on hosts without ifup, NetworkManager has ifcfg files as well."""
    return NetworkScripts(host) if host.has("ifup") and not path.startswith(_KEYFILES) else NetworkManager(host)


def link_now(host, device):
    """The link of the file that a device has now; ``None`` where it has none."""
    for path in (_KEYFILES + device + ".nmconnection", _IFCFGS + "ifcfg-" + device):
        if os.path.isfile(host.path(path)):
            text = read_plain(host.path(path))[0].decode(errors="replace")
            return Link(path, text, _tool(host, path))
    return None


def tool_now(host, device):
    """What starts and stops a device now."""
    link = link_now(host, device)
    return link.tool if link else NetworkManager(host)


def links_of(host, texts):
    """The links that files are for, by device and in the files' order."""
    tools = {folder: _tool(host, folder) for folder in (_IFCFGS, _KEYFILES)}
    found = []
    for path, text in texts.items():
        if path.startswith((_IFCFGS + "ifcfg-", _KEYFILES)):
            found.append(Link(path, text, tools[os.path.dirname(path) + "/"]))
    behind = {link.uuid: link for link in found if link.type in _BEHIND}
    for link in found:  # an interface of Open vSwitch's names its port, which names the bridge, each by its UUID
        while link.controller in behind:
            known = behind[link.controller]
            link.controller = known.controller if known.type == "ovs-port" else known.device
        if link.controller == link.device:  # the interface of a switch's own
            link.controller = None
    return {link.device: link for link in found if link.type not in _BEHIND}


def rivals(host, texts, ours):
    """The files of others for devices of ours, as removals: which of two a device comes up with is chance."""
    links = links_of(host, texts)
    for path in _foreign_files(host, ours) if links else ():
        content, status = read_plain(host.path(path))
        link = Link(path, content.decode(errors="replace"))
        devices = [other.device for other in links.values() if link.is_for(other)]
        if devices:
            entry = {"path": path, "kind": "link", "mode": "0%o" % stat.S_IMODE(status.st_mode)}
            entry.update(sha256=hashlib.sha256(content).hexdigest(), device=link.device or "")
            item = item_of(host, entry)
            yield Change(item, entry, "remove", item.snapshot(), ["it is for %s as well" % ", ".join(devices)])


def _foreign_files(host, ours):
    """The ifcfg files and keyfiles that aren't ours, without those that are passed over as somebody's copies."""
    for folder, start in ((_IFCFGS, "ifcfg-"), (_KEYFILES, "")):
        there = os.path.join(host.root, folder)
        for name in sorted(os.listdir(there)) if os.path.isdir(there) else ():
            is_copy = name.startswith(".") or re.search(r"(~|\.bak|\.old|\.orig|\.rej|\.rpm(new|orig|save))$", name)
            is_plain = os.path.isfile(os.path.join(there, name))
            if name.startswith(start) and is_plain and not is_copy and folder + name not in ours:
                yield folder + name


def _sys(link, name=""):
    return os.path.join("/sys/class/net", link, name)


def is_up(link):
    """Whether a link is there and switched on, be there a cable or not."""
    try:
        with open(_sys(link, "flags")) as stream:
            return int(stream.read(), 16) & 1 == 1
    except OSError:
        return False


def _is_in_use(host, link):
    """Whether a link has an address that reaches further than the link, or others stand on it or below it."""
    near = os.listdir(_sys(link)) if os.path.isdir(_sys(link)) else []
    stacked = any(name.startswith(("upper_", "lower_")) for name in near)
    return stacked or any(row[3] for row in _ip(host, "address", "show", "scope", "global", "dev", link))


def _ports(link):
    """A bridge's or a bond's ports, and whether each is isolated."""
    near = os.listdir(_sys(link)) if os.path.isdir(_sys(link)) else []
    lower = [name[len("lower_") :] for name in near if name.startswith("lower_")]
    return {name: _is_isolated(name) for name in sorted(lower) if _master(name) == link}


def _master(port):
    return os.path.basename(os.path.realpath(_sys(port, "master"))) if os.path.exists(_sys(port, "master")) else None


def _is_isolated(port):
    try:
        with open(_sys(port, "brport/isolated")) as stream:
            return stream.read().strip() == "1"
    except OSError:  # a kernel older than port isolation
        return False


def _guests_on(host, bridge):
    """The running guests with a tap on a bridge."""
    taps = {name for name in _ports(bridge) if os.path.exists(_sys(name, "tun_flags"))}
    if not taps:
        return []
    found = running_guests(host)
    return sorted(name for name in found if taps & {tap.get("dev") for tap in found[name].iter("target")})


def _guests_above(host, link):
    """The running guests with a tap on a link or on what stands on it: they lose their way out with it."""
    near = os.listdir(_sys(link)) if os.path.isdir(_sys(link)) else []
    upper = [name[len("upper_") :] for name in near if name.startswith("upper_")]
    return sorted(set(_guests_on(host, link)).union(*(_guests_above(host, name) for name in upper)))


def _lower(device, links):
    """The devices that files put right below a device: a VLAN's parent, a bond's and a bridge's ports."""
    parent = {links[device].parent} - {None} if device in links else set()
    return parent | {name for name, link in links.items() if link.controller == device}


def _rank(device, links):
    """How late a device starts: by ifup as files are ordered, by NetworkManager a port after its bridge or bond.

    A bridge of NetworkManager's that starts lets go of its ports, and starts those that have profiles; one that starts
    by itself meanwhile may lose.
    """
    link = links.get(device)
    if link is None or not link.tool.has_profiles:
        return 0
    controller = 1 + _rank(link.controller, links) if link.controller else 0
    return max(controller, _rank(link.parent, links))


def below_by_files(devices, links):
    """Devices and all that files put below them."""
    found = set(devices)
    for device in devices:
        found |= below_by_files(_lower(device, links) - found, links)
    return found


def links_to_move(host, links, changes, disruptive, older):
    """Which links stop, start and are changed live with an apply, the lower ones first.

    ``links`` are `links_of` the files then, ``older`` is `lagging`. A link waits where one right below it does: a
    bridge that took its address from a NIC which still has it would be the second with that address. A VLAN goes with
    its parent.
    """
    touched = {change.item.device for change in changes if change.item.kind == "link"} if host.is_live else set()
    stop = [device for device in disruptive if device in touched and device not in links]
    start, live, waits = [], [], set()
    for device, link in links.items():
        if not host.is_live or not link.tool.is_there():
            continue
        runs = link.tool.runs(link)
        if runs and (device in touched.intersection(disruptive) or link.parent in stop):
            stop.append(device)
            start.append(device)
        elif device in touched and waits & _lower(device, links):
            waits.add(device)
        elif device in touched and not runs:
            start.append(device)
        elif device in touched and _takes_it_live(link, changes, older):
            live.append(device)
        elif device in touched:
            waits.add(device)
    ports = {port: known for device in stop if device in start for port, known in _ports_of(host, device).items()}
    moved = {"stop": stop, "start": start, "live": live, "named": list(disruptive), "ports": ports}
    return dict(moved, earlier=_ran_by(host, stop + start))


def _ports_of(host, device):
    """What to give back to a device that is made anew, by port: it, whether the port is isolated, and its profile."""
    profiles = _profiles(host, _ports(device))
    return {port: [device, isolated, profiles.get(port)] for port, isolated in _ports(device).items()}


def _takes_it_live(link, changes, older):
    """Whether a link that runs takes its file's change, which must be the only change for it."""
    change, *more = [change for change in changes if getattr(change.item, "device", None) == link.device]
    before = older[link.path]["snapshot"] if link.path in older else change.snapshot
    if more or change.item.name != link.path or before is None:
        return False
    return link.tool.can_reapply(link, _content(before), change.item.content.decode(errors="replace"))


def _content(snapshot):
    return base64.b64decode(snapshot["content"]).decode(errors="replace")


def _profiles(host, devices):
    """The profiles that devices run by where NetworkManager has them."""
    networkmanager = NetworkManager(host)
    found = {device: networkmanager.profile(device) for device in devices if tool_now(host, device).has_profiles}
    return {device: profile for device, profile in found.items() if profile}


def _ran_by(host, devices):
    """What a rollback ends with where it isn't the device's file: a profile, or what the device was given by hand."""
    networkmanager, found = NetworkManager(host), _profiles(host, devices)
    for device in devices:
        if tool_now(host, device).has_profiles and networkmanager.looks_on(device):
            addresses = [row[3] for row in _ip(host, "address", "show", "scope", "global", "dev", device)]
            routes = [[way, *row] for way in ("-4", "-6") for row in _ip(host, way, "route", "show", "dev", device)]
            routes = [row for row in routes if "kernel" not in row and "linkdown" not in row]
            found[device] = {"controller": _master(device), "addresses": addresses, "routes": routes}
    return found


def give_back(host, device, known):
    """Give a device back what it was given by hand."""
    controller = ["master", known["controller"]] if known["controller"] else []
    host.run(("ip", "link", "set", "dev", device, "up", *controller))
    for address in known["addresses"]:
        host.run(("ip", "address", "replace", address, "dev", device))
    for way, *route in known["routes"]:
        host.run(("ip", way, "route", "replace", *route, "dev", device))


def tell_running(host, changes, links, files):
    """Say of each change of a file what becomes of what runs, and who is on it; ``files`` are the links then."""
    on_path = below_by_files(management_links(host), files)
    moved = {*links["stop"], *links["start"], *links["live"]}
    waits = {change.item.device for change in changes if change.item.kind == "link"} - moved
    for change in changes if host.is_live else ():
        if change.item.kind == "link":
            _tell_link(host, change, links, files, waits)
            change.impact = "management" if change.item.device in on_path else change.impact
        elif change.item.kind == Sysctl.kind and _locks_out(change):
            change.impact = "management"
        if change.verb == "remove" and change.item.kind in (Modules.kind, Sysctl.kind):
            change.details.append("what it said holds until the host starts anew")


def _tell_link(host, change, links, files, waits):
    device = change.item.device
    if device in links["stop"]:
        change.impact, change.guests = "network restart", _guests_above(host, device)
    elif device in waits and os.path.isdir(_sys(device)):
        change.impact = "later"
        change.details.append("the link %s runs on as it is: --disruptive %s restarts it" % (device, device))
    elif device in waits and device in files:
        lower = sorted(_lower(device, files) & waits)
        change.impact = "later"
        why = "it waits for %s" % ", ".join(lower) if lower else files[device].tool.absence
        change.details.append("the link %s isn't started: %s" % (device, why))


def _locks_out(change):
    """Whether a change of kernel settings can cut off whoever administers the host: it is of addresses' handling."""
    before = _content(change.snapshot) if change.snapshot else ""
    changed = set(settings(before)) ^ set(settings(change.item.content.decode(errors="replace")))
    return any(re.match("net/ipv[46]/conf/", place) for place, _ in changed)


def restarts_named(host, folder, state, changes, disruptive):
    """What --disruptive names and needs no other change: links that run with older files, or don't run.

    The snapshot is the file that the link runs with, so that a rollback goes back to what worked.
    """
    touched = {change.item.device for change in changes if change.item.kind == "link"}
    older = {path: known["snapshot"] for path, known in lagging(host, state).items()}
    links = {link.path: link for link in links_of(host, folder.texts).values()}
    for path, entry in folder.entries.items():
        if entry["kind"] != "link" or _device(path) not in set(disruptive) - touched:
            continue
        item = item_of(host, entry, folder.contents[path])
        if path in older or (path in links and not links[path].tool.runs(links[path])):
            snapshot = older.get(path, item.snapshot())
            yield Change(item, entry, "restart", snapshot, item.differences(snapshot))


def lagging(host, state):
    """The files that links which run were not started with: by path, what they were started with."""
    found = {}
    for path, known in state.get("links", {}).items():
        item = item_of(host, known["entry"])
        still_runs = known["run"] == _run(host, item) and is_up(item.device)
        if still_runs and item.snapshot() != known["snapshot"]:
            found[path] = known
    return found


def _run(host, item):
    """What is another once a link was made anew: the boot, the link's number, and its profile's activation."""
    try:
        with open(_sys(item.device, "ifindex")) as stream:
            run = [_boot(), stream.read().strip()]
    except OSError:
        return None
    return [*run, NetworkManager(host).activation(item.device)] if item.name.startswith(_KEYFILES) else run


def lagging_after(host, state, changes, course):
    """What `lagging` is to know once the changes are made."""
    if not host.is_live:
        return {}
    known = lagging(host, state)
    for change in changes:
        if change.item.kind == "link" and is_up(change.item.device):
            record = {"entry": change.entry, "run": _run(host, change.item), "snapshot": change.snapshot}
            known.setdefault(change.item.name, record)
    moved = course["stop"] + course["start"] + course["live"]
    return {path: record for path, record in known.items() if device_of(record["entry"]) not in moved}


def waiting_links(host, state):
    """The links that run with older files, or don't run."""
    if not host.is_live:
        return
    texts = texts_of(host, state["files"], "link")
    links, older = links_of(host, texts), lagging(host, state)
    for path, known in older.items():
        device = device_of(known["entry"])
        if path in texts and not known["snapshot"]:
            yield "the link %s wasn't started with %s: --disruptive %s restarts it" % (device, path, device)
        elif path in texts:
            yield "the link %s runs with an older %s: --disruptive %s restarts it" % (device, path, device)
        elif device not in links:
            yield "the link %s still runs, and %s is gone: it goes when the host starts anew" % (device, path)
    for device, link in links.items():
        if link.tool.runs(link):
            continue
        lower = sorted(_lower(device, links) & {device_of(known["entry"]) for known in older.values()})
        absence = "it was stopped" if link.tool.is_there() else link.tool.absence
        words = " ".join("--disruptive %s" % name for name in [*lower, device])
        why = "it waits for %s" % ", ".join(lower) if lower else absence
        yield "the link %s isn't up (%s): %s starts it" % (device, why, words)


def link_lacks(host, link):
    """What a running link doesn't have of what its file says."""
    if not link.tool.runs(link):
        yield "the link %s isn't up" % link.device
        return
    yield from link.tool.lacks(link)
    if link.controller and _master(link.device) not in (link.controller, "ovs-system"):
        yield "the link %s isn't a port of %s" % (link.device, link.controller)
    there = {row[3] for row in _ip(host, "address", "show", "dev", link.device)}
    for address in link.addresses:
        if address.lower() not in there:
            yield "the link %s doesn't have the address %s" % (link.device, address)


def links_lack(host, state):
    """What the running links don't have of what their files say, but for those that wait."""
    if not host.is_live or not host.has("ip"):
        return
    older = {device_of(known["entry"]) for known in lagging(host, state).values()}
    for device, link in links_of(host, texts_of(host, state["files"], "link")).items():
        if device not in older and link.tool.runs(link):
            yield from link_lacks(host, link)


# -- the running host: its course through a transaction ----------------------------------------------------------------


class Course:
    """What a transaction does to the running host beside its items: links, and kernel settings that it goes back to.

    ``data`` is what the journal keeps of it, ``entries`` are of the manifest that the host is brought to.
    """

    def __init__(self, host, entries, data):
        self.host = host
        self.entries = entries
        self.data = data

    def stop_links(self):
        """Stop links, the upper ones first, while the files that they were started with are there."""
        if not self.host.is_live:
            return
        for link in reversed(self.data["stop"]):
            goes = link not in self.data["start"] and link not in self.data["named"]
            if goes and _guests_on(self.host, link):
                log.warning("the link %s stays up: guests are on it", link)
            elif os.path.isdir(_sys(link)):
                tool_now(self.host, link).stop(link)

    def follow(self, changes, with_links=True):
        """Have the running host follow changed files, and see that it did."""
        kinds = {change.item.kind for change in changes if isinstance(change.item, FileItem)}
        if self.host.is_starting and self.host.root == "/" and Units.kind in kinds:
            Units(self.host, {}).follow()  # systemd has read them already
        if not self.host.is_live:
            return
        for running in _KERNEL:
            if running.kind in kinds and (running is not Sysctl or self.data["kernel"] is None):
                of_kind(self.host, self.entries, running).follow()
        set_kernel(self.data["kernel"] or {})
        self._tell_networkmanager(changes)
        if with_links:
            self._start_links()
        for running in _LATE:
            if any(change.item.name.startswith(running.place) for change in changes):
                of_kind(self.host, self.entries, running).follow()
        left = [line for line in lacking(self.host, self.entries, kinds) if line not in self.data["excused"]]
        if left:
            raise Problem("; ".join(left[:3]))

    def _tell_networkmanager(self, changes):
        """Have it read the files of what is moved, and see that they are gone."""
        moved = self.data["stop"] + self.data["start"] + self.data["live"]
        names = [change.item.name for change in changes if change.item.kind == "link" and change.item.device in moved]
        names = [name for name in names if isinstance(_tool(self.host, name), NetworkManager)]
        networkmanager = NetworkManager(self.host)
        if names and networkmanager.is_there():
            networkmanager.read(names)

    def _start_links(self):
        links = links_of(self.host, texts_of(self.host, self.entries, "link"))
        for link in [links[device] for device in self.data["live"] if device in links]:
            link.tool.reapply(link)
        for device in sorted(self.data["start"], key=lambda device: _rank(device, links)):
            self._start(device, self.data["profiles"].get(device))
        ports = self.data["ports"] if self.data.get("boot") == _boot() else {}
        for port, known in ports.items():
            self._plug_in(port, *known)
        self._await_links({*self.data["live"], *self.data["start"], *ports})

    def _start(self, device, earlier):
        """Start a device, with what it ran by where it goes back to that."""
        link = link_now(self.host, device)
        if isinstance(earlier, dict):
            give_back(self.host, device, earlier)
        elif earlier:
            NetworkManager(self.host).start(device, earlier, wait=False)
        elif link:
            link.tool.start(device, link.uuid)

    def _await_links(self, moved):
        """See that links have what their files say; NetworkManager goes on for a while when it has answered."""
        start = time.monotonic()
        while True:
            links = links_of(self.host, texts_of(self.host, self.entries, "link"))
            links = [link for device, link in links.items() if device in moved]
            left = [line for link in links for line in link_lacks(self.host, link)]
            if not left:
                return
            if time.monotonic() > start + max(link.tool.patience for link in links):
                raise Problem("starting links went well, and yet %s" % "; ".join(left[:3]))
            time.sleep(0.1)

    def _plug_in(self, port, bridge, isolated, profile):
        """Give a bridge that was made anew a port back that no file names, such as a guest's tap.

        One that is on a bridge stays there: it may be another guest's by now.
        """
        if os.path.exists(_sys(port, "master")) or not os.path.isdir(_sys(port)) or not os.path.isdir(_sys(bridge)):
            return
        if profile:
            NetworkManager(self.host).start(port, profile, wait=False)
        else:
            self.host.run(("ip", "link", "set", "dev", port, "master", bridge))
        if isolated:
            with open(_sys(port, "brport/isolated"), "w") as stream:
                stream.write("1")


STILL = {
    "stop": [],  # links, the lower ones first
    "start": [],
    "live": [],  # those that take their files' changes as they run
    "earlier": {},  # what devices ran by where that isn't their file: a profile, or what they were given by hand
    "profiles": {},  # the same to go back to
    "named": [],
    "ports": {},  # of links that are made anew: the link, whether the port is isolated, and its profile
    "boot": None,  # the one that the ports' names are of
    "kernel": None,  # the settings to go back to
    "kernel_before": {},
    "lacked": [],  # before
    "excused": [],  # lacked at the time that it goes back to
}
"""The course of a transaction that does nothing to the running host."""


def plot(host, links, changes, entries):
    """The course of an apply: the links as `links_to_move` says, and what to go back to. ``entries`` are today's."""
    kinds = {change.item.kind for change in changes}
    before = {"kernel_before": kernel_values(host, changes), "lacked": lacking(host, entries, kinds)}
    return dict(STILL, boot=_boot(), **before, **links)


def way_back_of(courses):
    """The course back through others, the last one first: what they started stops, what they stopped starts."""
    back = dict(STILL, kernel={}, ports={}, profiles={}, boot=_boot())
    for course in courses:
        back["stop"] = list(dict.fromkeys(back["stop"] + course["start"]))
        ran = [device for device in course["start"] if device in course["earlier"]]
        back["start"] = list(dict.fromkeys(back["start"] + course["stop"] + ran))
        back["live"] = list(dict.fromkeys(back["live"] + course["live"]))
        for device in course["stop"] + course["start"]:
            back["profiles"].pop(device, None)
        back["profiles"].update(course["earlier"])
        back["ports"].update(course["ports"] if course.get("boot") == _boot() else {})
        back["kernel"].update(course["kernel_before"])
        back["excused"] = course["lacked"]
    return back


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

    def lock(self, wait=False):
        """Keep other runs away; refused where one is on its way, or else waited for."""
        make_folders(self.folder)
        os.chmod(self.folder, 0o700)
        self._lock = open(self.path("lock"), "a+")  # noqa: SIM115 held until the process ends
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise Problem("another kvmgen-apply is on its way: wait for its end")
        for folder in (self.folder, self.path("generations")):
            clean_up(folder)

    def unlock(self):
        """Let other runs come in."""
        self._lock.close()

    @property
    def state(self):
        """What the last apply left: the generation, and the entries of its manifest."""
        return read_json(self.path("state.json"), _NOTHING)

    @property
    def journal(self):
        """What is on its way, and how to undo it; ``None`` where nothing is."""
        path = self.path("journal.json")
        try:
            found = read_json(path, {})
            whole = not os.path.lexists(path) or {"generation", "before", "after", "items"} <= set(found)
        except (Problem, TypeError):
            whole = False
        if not whole:
            raise Problem(
                "%s is damaged, and with it what to go back to after a run that was cut off: move it away, "
                "and apply the folder that this host should have" % path
            )
        return found or None

    def begin(self, journal):
        """Have the journal on disk, before anything is changed."""
        path = self.path("journal.json")
        try:
            write_json(path, journal)
        except OSError as error:
            with contextlib.suppress(OSError):
                remove_file(path)
            raise Problem("%s can't be written (%s): nothing was changed" % (path, error.strerror))

    def is_done(self, journal):
        """Whether a journal's changes are all made: the state says so, and is written last."""
        return self.state["generation"] >= journal["generation"]

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


def transact(store, changes, state, why, course, healthy=lambda: None):
    """Make changes as a whole: all of them and the new state, or none and the old one.

    ``course`` is what becomes of links and kernel settings; ``healthy`` raises a problem where the host isn't well.
    """
    journal = _journal(store, changes, state, why, course)
    is_made = False
    with undisturbed() as signals:
        store.begin(journal)
        try:
            _make(Course(store.host, state["files"], course), changes, signals)
            healthy()
            _heed(signals)
            remember(journal, changes)
            is_made = True
            finish(store, journal)
        except BaseException as error:
            if is_made and _is_done(store, journal):
                log.warning("%s. That was after the end: generation %d is done", _told_of(error), state["generation"])
                return
            undo(store, journal)
            if isinstance(error, EXPECTED):
                raise RolledBack("%s. Everything is as it was before" % _told_of(error))
            raise


def _is_done(store, journal):
    """Whether changes that are made are the state too; nothing is undone where the disk doesn't say."""
    try:
        return store.is_done(journal)
    except EXPECTED as error:
        words = "%s. All changes are made, and whether they are recorded can't be read: nothing was undone. Mend the "
        words += "cause, and run `kvmgen-apply status`: it goes back to generation %d, or says that %d is done"
        raise Stuck(words % (_told_of(error), journal["before"]["generation"], journal["generation"]))


def _journal(store, changes, state, why, course):
    items = []
    for change in changes:
        known = {"entry": change.entry, "snapshot": change.snapshot, "verb": change.verb, "wanted": change.wanted}
        known["disruptive"] = getattr(change.item, "disruptive", False)
        items.append(known)
    return {
        "generation": state["generation"],
        "before": store.state,
        "after": state,
        "why": why,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "items": items,
        "course": course,
    }


def _make(course, changes, signals):
    """Make changes, and hold the host to them: files, then libvirt's objects, and files that go at last."""
    files = [change for change in changes if isinstance(change.item, FileItem)]
    gone = [change for change in files if change.verb == "remove"]
    course.stop_links()
    _do([change for change in files if change not in gone], signals)
    course.follow([change for change in files if change not in gone])
    _do([change for change in changes if change not in files], signals)
    _do(gone, signals)
    course.follow(gone, with_links=False)
    with course.host.looked_at():
        left = [line for change in changes for line in change.left()]
    if left:
        raise Problem("it isn't what was put: %s" % "; ".join(left))


def _do(changes, signals):
    """Make changes; a signal is heeded between two of them."""
    for change in changes:
        _heed(signals)
        log.info("%s %s %s", change.verb, change.item.kind, change.item.name)
        change.do()


def _heed(signals):
    if signals:
        raise Problem("signal %d asked for an end" % signals[0])


@contextlib.contextmanager
def undisturbed():
    """Let no signal cut off what must come to its end; gives a list of the signals that came."""
    came = []
    heeded = [number for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in heeded}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def remember(journal, changes):
    """Add to a journal's new state what libvirt made of what was put, and what waits to be removed and stays ours."""
    entries = {entry["path"]: entry for entry in journal["after"]["files"]}
    for before in journal["before"]["files"]:
        if before["path"] in entries and "baseline" in before:
            entries[before["path"]].setdefault("baseline", before["baseline"])
    for change in changes:
        path = change.entry["path"]
        if change.waits and change.wanted is None:
            entries[path] = dict(change.entry, leaving=True)
        elif isinstance(change.item, LibvirtItem) and change.verb not in ("remove", "restore"):
            baseline = {"put": change.item.content, "there": change.there["xml"]}
            entries[path] = dict(entries[path], baseline=baseline)
    journal["after"]["files"] = list(entries.values())


def finish(store, journal):
    """Make the new state the state. Once state.json has its name the apply is done, whatever happens."""
    write_json(store.path("generations/%d.json" % journal["generation"]), journal)
    write_json(store.path("state.json"), journal["after"])
    remove_file(store.path("journal.json"))


def undo(store, journal):
    """Restore what was there before, and forget the journal."""
    restore_all(store, journal, "snapshot")
    try:
        remove_file(store.path("generations/%d.json" % journal["generation"]))
        remove_file(store.path("journal.json"))
    except OSError as error:
        raise Stuck("everything is as it was before, but the journal can't be removed: %s" % _told_of(error))


def restore_all(store, journal, which):
    """Restore every snapshot of a journal, the last one first.

    What can be restored is, whatever else can't. Files come first: they need no daemon, and the host is reached by
    them.
    """
    store.host.silent.clear()
    changes = []
    for known in journal["items"] if which == "wanted" else reversed(journal["items"]):
        item = item_of(store.host, known["entry"])
        item.disruptive = known.get("disruptive", False)
        changes.append(Change(item, known["entry"], "restore", None, wanted=known[which]))
    files = [change for change in changes if isinstance(change.item, FileItem)]
    course = _course_to(store.host, journal, which)
    steps = [course.stop_links] + [change.redo for change in files]
    steps.append(lambda: course.follow(files))
    steps += [change.redo for change in changes if change not in files and not store.host.is_starting]
    failures = list(_failures(steps))
    if failures:
        raise Stuck(
            "the rollback failed: %s. What was there before is in %s; mend the cause, and run `kvmgen-apply rollback`"
            % ("; ".join(failures[:5]), store.path("journal.json"))
        )
    return changes


def _course_to(host, journal, which):
    """The running host's course to what was before a journal, or to what it wanted."""
    course = journal.get("course", STILL)
    if which == "wanted":
        return Course(host, journal["after"]["files"], course)
    return Course(host, journal["before"]["files"], way_back_of([course]))


def _failures(steps):
    """Take every step, and tell which failed."""
    for step in steps:
        try:
            step()
        except Exception as error:  # even a bug in one must not keep the others from being taken
            yield _told_of(error)


def _told_of(error):
    """What an exception has to say."""
    if isinstance(error, Problem):
        return str(error)
    if isinstance(error, OSError):
        return "%s: %s" % (error.filename or "the system", error.strerror)
    if isinstance(error, ElementTree.ParseError):
        return "what virsh gave is no XML: %s" % error
    return repr(error)


def recover(store):
    """Bring to an end what an earlier run left on its way; whether the host was put back by that."""
    journal = store.journal
    if journal is None:
        return False
    with undisturbed():
        if store.is_done(journal):
            remove_file(store.path("journal.json"))
            log.warning("generation %d was done, and is recorded now", journal["generation"])
            return False
        if journal.get("onward"):
            go_on(store, journal)
        else:
            undo(store, journal)
    log.warning("what was cut off is rolled back: the host is at generation %d", store.state["generation"])
    return True


# -- commit-confirm ----------------------------------------------------------------------------------------------------

RETRIES = (1, 5, 10, 30, 60, 120, 300)  # seconds between the tries to roll back what nobody confirmed
_BOOTTIME = 7  # CLOCK_BOOTTIME, which Python names since 3.7: no clock that is set moves it, and no sleep stops it


def _now():
    return time.clock_gettime(_BOOTTIME)


def _boot():
    with open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()


def arm(host, seconds):
    """Start the process that rolls back in so many seconds, whatever becomes of this one; what the state says of it.

    It is a service where systemd runs, which outlives any session, else a session of its own. It starts now: once it
    is due, the host might not be able to start anything.
    """
    deadline, unit = _now() + seconds, None
    argv = [sys.executable, "-I", os.path.abspath(__file__), "--root", host.root, "--connect", host.connect]
    argv += ["--timeout", str(host.timeout), "rollback", "--unconfirmed", "--at", repr(deadline)]
    if host.is_live and host.has("systemd-run") and os.path.isdir("/run/systemd/system"):
        unit = "kvmgen-apply-confirm-%d.service" % deadline
        # What ifup starts while it rolls back, such as a DHCP client, outlives the service.
        host.run(["systemd-run", "--unit=" + unit, "--property=KillMode=process", *argv])
    else:
        nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.Popen(argv, cwd="/", start_new_session=True, **nothing)
    return {"deadline": deadline, "boot": _boot(), "unit": unit}


def is_due(unconfirmed):
    """Whether nobody confirmed in time; a host that was started since never was."""
    return unconfirmed["boot"] != _boot() or _now() >= unconfirmed["deadline"]


def roll_back(store, generation, why):
    """Restore what was there at a generation; this is a generation of its own."""
    changes, after, course = way_back(store, generation)
    transact(store, changes, after, why, course)
    return changes


def restore_at_start(store):
    """Put the files back of what a reboot cut off or left unconfirmed, before links and daemons read them.

    What is libvirt's stays in the journal for the next run, which leaves links alone: they start with what they had.
    """
    journal, unconfirmed = store.journal, store.state.get("unconfirmed")
    if _boot() in [(journal or {}).get("course", STILL).get("boot"), (unconfirmed or {}).get("boot")]:
        return  # the host is up: nothing of an earlier start is left
    if journal is not None and (store.is_done(journal) or not _is_libvirts(journal)):
        recover(store)
        journal = None
    if journal is None and unconfirmed:
        log.warning("nobody confirmed generation %d before the reboot: it is rolled back", store.state["generation"])
        journal = _expiry(store)
        store.begin(journal)
        if not _is_libvirts(journal):
            go_on(store, journal)
            return
    if journal is not None:
        restore_all(store, journal, "wanted" if journal.get("onward") else "snapshot")
        journal["course"] = dict(journal.get("course", STILL), stop=[], start=[], live=[], ports={})
        store.begin(journal)
        log.warning("files are back; libvirt's objects follow with the next run")


def _is_libvirts(journal):
    return any(known["entry"]["kind"] in _ITEMS for known in journal["items"])


def expire(store):
    """Roll back the generation that nobody confirmed.

    A rollback that somebody asked for is made whole or not at all. Nobody may be able to come in and ask again for
    this one: it never goes back to where it came from, and what can't be restored now is restored by the next run.
    """
    journal = _expiry(store)
    with undisturbed():
        store.begin(journal)
        go_on(store, journal)


def _expiry(store):
    changes, after, course = way_back(store, store.state["generation"] - 1, unseen=True)
    return dict(_journal(store, changes, after, "nobody confirmed", course), onward=True)


def go_on(store, journal):
    """Bring a rollback that must not be undone to its end."""
    remember(journal, restore_all(store, journal, "wanted"))
    finish(store, journal)


def _in_order(changes):
    """Restorations in an order that libvirt takes: what comes back before what uses it, what goes after it."""
    kinds = list(_PLACES)
    stay = [change for change in changes if change.wanted is not None]
    stay.sort(key=lambda change: (kinds.index(change.item.kind), change.snapshot is not None))
    gone = [change for change in changes if change.wanted is None]
    return stay + sorted(gone, key=lambda change: kinds.index(change.item.kind), reverse=True)


def way_back(store, generation, unseen=False):
    """What must be restored for the host to be what it was at a generation, the state that it has then, and the course.

    With ``unseen`` so is what can't be looked at: libvirt may be out of order, and files must go back all the same.
    """
    state = store.state
    if not 0 <= generation < state["generation"]:
        raise Misused("generation %d can't be gone back to: the host is at %d" % (generation, state["generation"]))
    records = [store.record(number) for number in range(state["generation"], generation, -1)]
    changes = _in_order(list(_restorations(store.host, records, unseen)))
    after = dict(records[-1]["before"], generation=state["generation"] + 1)
    after.pop("unconfirmed", None)
    return changes, after, _course_back(store, records, changes, unseen)


def _restorations(host, records, unseen):
    """What isn't any more as it was before the oldest of some records that names it."""
    oldest = {}
    for record in records:
        for known in reversed(record["items"]):
            oldest[item_of(host, known["entry"]).key] = known
    for known in oldest.values():
        item = item_of(host, known["entry"])
        try:
            now = item.snapshot()
            is_back = item.is_at(now, known["snapshot"])
        except EXPECTED:
            if not unseen:
                raise
            now, is_back = known["snapshot"], False
        if not is_back:
            yield Change(item, known["entry"], "restore", now, wanted=known["snapshot"])


def _course_back(store, records, changes, unseen):
    """The course of a way back, itself with a way back: nothing starts whose file goes."""
    course = way_back_of([record.get("course", STILL) for record in records])
    links = [change for change in changes if change.item.kind == "link"]
    stay = {change.item.device for change in links if change.wanted} | set(course["profiles"])
    gone = {change.item.device for change in links} - stay
    course["start"] = [device for device in course["start"] if device not in gone]
    course["kernel_before"] = kernel_values(store.host, changes)
    try:
        course["earlier"] = _ran_by(store.host, course["stop"] + course["start"]) if store.host.is_live else {}
        course["lacked"] = lacking(store.host, store.state["files"], {change.item.kind for change in changes})
    except EXPECTED:
        if not unseen:
            raise
    return course


# -- health ------------------------------------------------------------------------------------------------------------


def health(host, check_gateway, check_command):
    """A function that raises a problem where the host isn't well, or has no default gateway where it has one now."""
    before = _gateways(host) if check_gateway else {}

    def healthy():
        now = _gateways(host) if check_gateway else {}
        lost = sorted(set(before) - set(now))
        if lost or (check_gateway and not now):
            raise Problem("there is no default gateway" + "".join(" for IPv%s any more" % family for family in lost))
        for gateway in now.values():
            ping = "ping6" if ":" in gateway and host.has("ping6") else "ping"  # el7's ping knows IPv4 only
            if host.run((ping, "-c", "3", "-i", "0.3", "-W", "2", gateway), check=False)[0]:
                raise Problem("the gateway %s doesn't answer any more" % gateway)
        if check_command:
            host.run(("sh", "-c", check_command))

    return healthy


def _gateways(host):
    """The default gateways by IP version."""
    found = {}
    for family in "46":
        words = host.run(("ip", "-o", "-" + family, "route", "show", "default"), check=False)[1].split()
        if "via" in words:
            gateway = words[words.index("via") + 1]
            link = words[words.index("dev") + 1]
            found[family] = "%s%%%s" % (gateway, link) if gateway.startswith("fe80:") else gateway
    return found


# -- signatures --------------------------------------------------------------------------------------------------------


def verify_signature(host, files, signers):
    """Hold the manifest, and with it every file, to a signature by one of the allowed signers.

    OpenSSH's (8.1 and later: `ssh-keygen -Y sign -n kvmgen`; the allowed signer is ``kvmgen``) or GnuPG's.
    """
    if not {_MANIFEST, _SIGNATURE} <= set(files):
        raise Problem("the manifest isn't signed (there is no manifest.json.sig), and --signers asks for it")
    if not os.path.isfile(signers):
        raise Misused("--signers %s: there is no such file" % signers)
    is_ssh = b"BEGIN SSH SIGNATURE" in files[_SIGNATURE][:200]
    with tempfile.TemporaryDirectory(prefix="kvmgen-apply-") as scratch:
        manifest, signature = (os.path.join(scratch, name) for name in (_MANIFEST, _SIGNATURE))
        replace_file(manifest, files[_MANIFEST])
        replace_file(signature, files[_SIGNATURE])
        if is_ssh:
            argv = ("ssh-keygen", "-Y", "verify", "-f", signers, "-I", "kvmgen", "-n", "kvmgen", "-s", signature)
        else:
            argv = ("gpgv", "--homedir", scratch, "--keyring", os.path.abspath(signers), signature, manifest)
        if not host.has(argv[0]):
            raise Problem("the signature needs %s, which isn't installed: install it, or sign otherwise" % argv[0])
        try:
            host.run(argv, text=files[_MANIFEST].decode(errors="replace") if is_ssh else "")
        except Problem as problem:
            raise Problem("the manifest's signature isn't one that --signers allows. %s" % problem)


# -- commands ----------------------------------------------------------------------------------------------------------


class Command:
    """One run: the host, what is remembered, and how to tell."""

    def __init__(self, words):
        self.words = words
        if not os.path.isdir(words.root):
            raise Misused("--root %s: there is no such folder" % words.root)
        self.host = Host(words.root, words.connect, words.timeout)
        self.store = Store(self.host)

    def tell(self, data, lines):
        """Say something, to people or to programs. That nobody listens any more changes nothing about what was done."""
        text = json.dumps(data, indent=1, sort_keys=True) if self.words.json else "\n".join(lines)
        try:
            sys.stdout.buffer.write((text + "\n").encode(sys.stdout.encoding, "backslashreplace"))
            sys.stdout.flush()
        except (AttributeError, OSError):  # closed, or the session is gone
            log.warning("nobody reads what this run has to tell")

    def begin(self, wait=False):
        """Keep others away, and bring to an end what was left on its way."""
        self.store.lock(wait)
        recover(self.store)
        unconfirmed = self.store.state.get("unconfirmed")
        if unconfirmed and is_due(unconfirmed):
            log.warning("nobody confirmed generation %d in time: it is rolled back", self.store.state["generation"])
            expire(self.store)

    def folder(self):
        """The folder to apply, unpacked and verified, and for this host."""
        place = self.words.folder
        files = files_in_archive(_stdin()) if place == "-" else files_in_folder(place)
        if self.words.signers:
            verify_signature(self.host, files, self.words.signers)
        folder = Folder(files)
        name = self.words.host or os.uname().nodename
        if name != folder.host and not name.startswith(folder.host + "."):
            raise Problem("the folder is for %s, and this is %s; --host says otherwise" % (folder.host, name))
        return folder

    def plan(self):
        """Tell what an apply would do."""
        self.store.lock()
        if self.store.journal:
            raise Problem("an apply was cut off: run `kvmgen-apply status` first, which brings it to an end")
        folder = self.folder()
        with self.host.looked_at():
            changes, _ = self._planned(folder, self.store.state)
        self.tell([change.as_data() for change in changes], list(_told(changes)) or ["Nothing to do."])
        return PENDING if _due(changes) else DONE

    def _planned(self, folder, state):
        """The changes to a folder, and which links stop and start for them."""
        disruptive = self.words.disruptive
        _hold_to_names(disruptive, [*folder.entries.values(), *state["files"]])
        changes = changes_to(self.host, folder, state, self.words.adopt, disruptive)
        changes += restarts_named(self.host, folder, state, changes, disruptive)
        files = links_of(self.host, folder.texts)
        links = links_to_move(self.host, files, changes, disruptive, lagging(self.host, state))
        tell_running(self.host, changes, links, files)
        return changes, links

    def apply(self):
        """Make the host equal to the folder."""
        self.begin()
        folder, state = self.folder(), self.store.state
        if state.get("unconfirmed"):
            words = "generation %d waits: run `kvmgen-apply confirm` to keep it, or `kvmgen-apply rollback`"
            raise Problem(words % state["generation"])
        with self.host.looked_at():
            changes, links = self._planned(folder, state)
        risky = [change.item.name for change in changes if change.impact == "management"]
        if risky and self.host.is_live and not self.words.confirm_within:
            raise Problem("on the way that administrators come in: %s. Use --confirm-within 120" % ", ".join(risky))
        if not _due(changes) and state["digest"] == folder.digest:
            self.tell({"generation": state["generation"], "changes": []}, ["Nothing to do."])
            return DONE
        after = {
            "generation": state["generation"] + 1,
            "host": folder.host,
            "digest": folder.digest,
            "files": folder.manifest["files"],
            "links": lagging_after(self.host, state, changes, links),
        }
        course = plot(self.host, links, changes, state["files"])
        if self.words.confirm_within:
            after["unconfirmed"] = arm(self.host, self.words.confirm_within)
        healthy = health(self.host, self.words.check_gateway, self.words.check_command)
        transact(self.store, changes, after, "apply", course, healthy)
        try:
            with self.host.looked_at():
                pending = self._pending(changes, after)
        except EXPECTED as error:  # the apply is done all the same
            pending = ["unknown: %s" % _told_of(error)]
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

    def _pending(self, changes, state):
        """What isn't in effect yet of changes that were made."""
        lines = [line for change in changes if change.verb != "remove" for line in change.item.pending()]
        lines += [change.waits for change in changes if change.waits]
        return [*lines, *waiting_links(self.host, self.store.state), *waiting(self.host, state["files"])]

    def confirm(self):
        """Keep what the last apply did."""
        self.begin()
        state = self.store.state
        if not state.get("unconfirmed"):
            raise Problem("nothing waits to be confirmed")
        unit = state.pop("unconfirmed")["unit"]
        with undisturbed():
            self._keep(state)
        if unit:
            self.host.run(("systemctl", "stop", unit), check=False)
        self.tell({"generation": state["generation"]}, ["Generation %d stays." % state["generation"]])
        return DONE

    def _keep(self, state):
        """Write a state that waits for nobody. Once state.json has its name it is confirmed, whatever happens."""
        try:
            write_json(self.store.path("state.json"), state)
        except OSError as error:
            try:
                is_waiting = self.store.state.get("unconfirmed")
            except EXPECTED:
                words = "%s. Whether generation %d is confirmed can't be read: mend that, and see `kvmgen-apply status`"
                raise Stuck(words % (_told_of(error), state["generation"]))
            if is_waiting:
                raise
            log.warning("%s. That was after the end: generation %d is confirmed", _told_of(error), state["generation"])

    def rollback(self):
        """Go back to an earlier generation, the last one where none is named."""
        if self.words.at_start:
            return self._at_start()
        if self.words.unconfirmed:
            return self._watch()
        self.store.lock()
        if recover(self.store) and self.words.generation is None:
            return self._is_back([])
        state = self.store.state
        target = state["generation"] - 1 if self.words.generation is None else self.words.generation
        return self._is_back(roll_back(self.store, target, "back to generation %d" % target))

    def _at_start(self):
        """Put files back before anything reads them; never waits, for the host's start waits for it."""
        self.host.is_starting = True
        self.store.lock()
        with undisturbed():
            restore_at_start(self.store)
        return self._is_back([])

    def _watch(self):
        """Roll back once it is due; nobody may be able to come in and ask again, so what fails is tried again."""
        while _now() < (self.words.at or 0):
            time.sleep(min(1, max(0, self.words.at - _now())))
        for pause in (*RETRIES, None):
            try:
                self.begin(wait=True)
                break
            except EXPECTED as error:
                if pause is None:
                    raise
                log.error("%s. Trying again in %d s", _told_of(error), pause)
            self.store.unlock()
            time.sleep(pause)
        return self._is_back([])

    def _is_back(self, changes):
        generation = self.store.state["generation"]
        data = {"generation": generation, "changes": [change.as_data() for change in changes]}
        self.tell(data, [*_told(changes), "The host is at generation %d." % generation])
        return DONE

    def status(self):
        """Tell the generation, what somebody changed by hand, and what waits for a restart."""
        self.begin()
        state = self.store.state
        with self.host.looked_at():
            drift, pending = self._drift(state)
        drift += [*lacking(self.host, state["files"]), *links_lack(self.host, state)]
        pending += [*waiting_links(self.host, state), *waiting(self.host, state["files"])]
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
        for item, entry in _items(self.host, state["files"]):
            drift += ["%s %s: %s" % (item.kind, item.name, line) for line in _by_hand(item, item.snapshot())]
            pending += item.pending()
            if entry.get("leaving"):
                pending.append("%s %s is to be removed once no running guest needs it" % (item.kind, item.name))
        return drift, pending

    def history(self):
        """Tell every generation: when, why, and how many things it changed."""
        records = [self.store.record(number) for number in self.store.generations()]
        data = [{key: record[key] for key in ("generation", "time", "why")} for record in records]
        lines = ["%(generation)4d  %(time)s  %(why)s" % row for row in data]
        self.tell(data, lines or ["Nothing was applied yet."])
        return DONE


def _hold_to_names(disruptive, entries):
    """Refuse a name that nothing bears: whoever misspells it believes that something is restarted."""
    names = {_device(entry["path"]) for entry in entries if entry["kind"] == "link"}
    names |= {entry["defines"]["name"] for entry in entries if entry["kind"] == "network"}
    unknown = sorted(set(disruptive) - names)
    if unknown:
        raise Misused("--disruptive %s: there is no link or network of that name" % ", ".join(unknown))


def _due(changes):
    """Those that can be made now: a removal may wait for running guests."""
    return [change for change in changes if change.impact != "waits"]


def _stdin():
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # it may be closed


def _told(changes):
    for change in changes:
        yield "%-7s %-9s %s  (%s)" % (change.verb, change.item.kind, change.item.name, change.impact)
        for line in change.details:
            yield "    %s" % line


def _seconds(text):
    seconds = int(text)
    if seconds < 1:
        raise ValueError("not a time")
    return seconds


def _add_common(to, **defaults):
    to.add_argument("--root", metavar="DIR", help="where the host's files are (default: /)", **defaults)
    to.add_argument("--connect", metavar="URI", help="libvirt (default: qemu:///system)", **defaults)
    to.add_argument("--timeout", type=_seconds, help="seconds that any one program may take", **defaults)
    to.add_argument("--json", action="store_true", help="tell results as JSON", **defaults)


def parser():
    """The command's words; the common ones are understood before and after the command."""
    top = argparse.ArgumentParser(prog="kvmgen-apply", description=__doc__.split("\n\n", 1)[0], allow_abbrev=False)
    top.add_argument("--version", action="version", version="kvmgen-apply " + VERSION)
    _add_common(top)
    top.set_defaults(root="/", connect="qemu:///system", timeout=TIMEOUT)
    common = argparse.ArgumentParser(add_help=False)
    _add_common(common, default=argparse.SUPPRESS)
    shared = {"parents": [common], "allow_abbrev": False}
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    commands.required = True
    for name in ("plan", "apply"):
        command = commands.add_parser(name, help=getattr(Command, name).__doc__, **shared)
        command.add_argument("folder", metavar="DIR", help="the host's folder of the output; - for a tar on stdin")
        command.add_argument("--host", help="this host's name in the inventory (default: its host name)")
        command.add_argument(
            "--adopt", action="append", default=[], metavar="NAME", help="take over what isn't kvmgen's"
        )
        command.add_argument(
            "--disruptive", action="append", default=[], metavar="NAME", help="restart that link or network"
        )
        command.add_argument("--signers", metavar="FILE", help="allowed signers or keyring: ask for a signature")
        if name == "apply":
            command.add_argument("--confirm-within", type=_seconds, metavar="S", help="roll back unless confirmed")
            command.add_argument("--check-gateway", action="store_true", help="roll back if it doesn't answer")
            command.add_argument("--check-command", metavar="CMD", help="roll back if this fails")
    commands.add_parser("confirm", help=Command.confirm.__doc__, **shared)
    back = commands.add_parser("rollback", help=Command.rollback.__doc__, **shared)
    back.add_argument("generation", type=int, nargs="?")
    back.add_argument("--unconfirmed", action="store_true", help="only what nobody confirmed in time")
    back.add_argument("--at-start", action="store_true", help="only files, and only of what a reboot cut off")
    back.add_argument("--at", type=float, help=argparse.SUPPRESS)  # when; counted from the host's start
    commands.add_parser("status", help=Command.status.__doc__, **shared)
    commands.add_parser("history", help=Command.history.__doc__, **shared)
    return top


class SystemLog(logging.Handler):
    """The system's log. Where it is full, or just restarted, a line is lost: it never stops or delays a run."""

    def emit(self, record):
        """Send a line, as a daemon's."""
        severity = {logging.INFO: 6, logging.WARNING: 4}.get(record.levelno, 3)
        line = "<%d>kvmgen-apply[%d]: %s" % (3 << 3 | severity, os.getpid(), record.getMessage()[:4000])
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log_socket:
            log_socket.settimeout(0.1)
            log_socket.connect(SYSTEM_LOG)
            log_socket.send(line.encode("utf-8", "backslashreplace"))


def start_logging():
    """Log to stderr, and to the system's log where there is one."""
    log.setLevel(logging.INFO)
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(logging.Formatter("kvmgen-apply: %(message)s"))
    log.handlers[:] = [to_stderr, SystemLog()]


def main(arguments=None):
    """Run a command; its exit code."""
    words = parser().parse_args(arguments)
    start_logging()
    for number in ENDINGS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit("ended by a signal"))
    os.umask(0o022)  # folders that are made on the way to a file are for everybody, as the host's own
    try:
        return getattr(Command(words), words.command)()
    except Problem as problem:
        log.error("%s", problem)
        return problem.code
    except EXPECTED as error:
        log.error("%s", _told_of(error))
        return FAILED
    except Exception:
        traceback.print_exc()
        log.error("this is a bug in kvmgen-apply: please report it with the lines above")
        return DEFECT


def end(code):
    """Exit with a code, whether or not anybody is left to read the last lines."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    end(main())
