"""A workflow in one file: the document, its operation modules, small inputs, and a hash of each.

It is a zip file whose first member, ``manifest.json``, tells what must be in it. The same input gives the same bytes on every
machine: names are in order, times are fixed, and nothing is compressed.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from mpiflow.workflow.reading import Packed

SUFFIX = ".mpiflow"
FORMAT = 1
_MANIFEST = "manifest.json"
_MAGIC = b"PK\x03\x04"
_TIME = (1980, 1, 1, 0, 0, 0)       # the first that a zip file can tell
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, msgspec.MsgspecError, NotImplementedError, RuntimeError, EOFError,
           ValueError, KeyError, OSError, IndexError, OverflowError, MemoryError)      # what zipfile raises for what is none


class PackError(Exception):
    """A pack cannot be made or used; the message says why."""


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a pack.

    Attributes:
        sha256: Hash of its contents, 64 hexadecimal digits.
        nbytes: Its size [bytes].
        input: Whether datasets are read from it.
    """

    sha256: str
    nbytes: int
    input: bool = False


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is in a pack.

    Attributes:
        format: Version of the format.
        document: Path of the document in it.
        files: The document, modules and inputs, by their paths.
        parameters: Parameters that it was packed with, as on the command line.
    """

    format: int
    document: str
    files: dict[str, Member]
    parameters: dict[str, str] = {}


@dataclass(frozen=True)
class Pack:
    """A pack that has been checked."""

    manifest: Manifest
    contents: Mapping[str, bytes]

    def lay_out(self) -> tempfile.TemporaryDirectory:
        """Write its files to a directory of their own, which lives as long as what is returned. Local.

        Raises:
            PackError: There is no room.
        """
        folder = tempfile.TemporaryDirectory(prefix="mpiflow-")
        try:
            for name, data in self.contents.items():
                place = Path(folder.name, name)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data)
                place.chmod(0o700)                          # it may be a program
        except OSError as error:
            folder.cleanup()
            raise PackError(f"cannot be laid out in {tempfile.gettempdir()}: {error.strerror}") from None
        return folder

    def inputs(self, folder: str) -> dict[str, Packed]:
        """Give its inputs by their names in the document, when it has been laid out in ``folder``."""
        return {name: Packed(os.path.join(folder, name), (member.nbytes, 0, int(member.sha256[:15], 16)))
                for name, member in self.manifest.files.items() if member.input}


def is_pack(file: Path, data: bytes) -> bool:
    """Whether a file is a pack, or means to be one."""
    return data.startswith(_MAGIC) or file.suffix == SUFFIX


def make_pack(document: str, contents: Mapping[str, bytes], inputs: Iterable[str], parameters: Mapping[str, str]) -> bytes:
    """Give the bytes of a pack. Pure.

    Args:
        document: Path of the document.
        contents: All files, by their paths from the folder of the document, with slashes.
        inputs: The paths of those that datasets are read from.
        parameters: Parameters that the document shall have, unless a run gives them other values.
    """
    read = frozenset(inputs)
    members = {name: Member(hashlib.sha256(data).hexdigest(), len(data), name in read) for name, data in sorted(contents.items())}
    manifest = msgspec.json.format(msgspec.json.encode(Manifest(FORMAT, document, members, dict(sorted(parameters.items())))))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ((_MANIFEST, manifest), *sorted(contents.items())):
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system, info.external_attr = 3, 0o644 << 16         # as on any Unix
            archive.writestr(info, data)
    return made.getvalue()


def open_pack(data: bytes) -> Pack:
    """Read a pack and check all of it. Pure.

    Raises:
        PackError: It is damaged, or of another version.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
        version = msgspec.json.decode(found[_MANIFEST], type=_Version).format
        if version != FORMAT:
            raise PackError(f"the pack has format {version}; this mpiflow reads {FORMAT}")
        manifest = msgspec.json.decode(found.pop(_MANIFEST), type=Manifest)
    except _DAMAGE as error:
        raise PackError(f"the pack is damaged: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from None
    for name in sorted({*found, *manifest.files, manifest.document}):
        _check(name, manifest.files.get(name), found.get(name))
    return Pack(manifest, found)


class _Version(Struct):
    format: int


def _check(name: str, member: Member | None, data: bytes | None) -> None:
    if not is_inside(name):
        raise PackError(f"the pack is damaged: it holds {name!r}, a path that leads out of it")
    if member is None or data is None:
        raise PackError(f"the pack is damaged: {name} is missing in {'it' if data is None else 'its manifest'}")
    if hashlib.sha256(data).hexdigest() != member.sha256 or len(data) != member.nbytes:
        raise PackError(f"the pack is damaged: {name} is not what was packed")


def is_inside(path: str) -> bool:
    """Whether a path of the document leads to what lies beside it, or below."""
    pure = PurePosixPath(path)
    return bool(pure.name) and not pure.is_absolute() and ".." not in pure.parts and not path.startswith("~")


def matching(pattern: str, inputs: Mapping[str, Packed]) -> list[str]:
    """Give the packed inputs that a path or pattern of the document means, in order; see ``sources.discover``."""
    path = os.path.normpath(pattern)
    if path in inputs:
        return [path]
    return sorted(name for name in inputs if name.count("/") == path.count("/") and PurePosixPath(name).match(path))
