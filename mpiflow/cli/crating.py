"""The folder of an RO-Crate: workflow, code, results and record, copied, with a hash of each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath

from mpiflow.cli.reading import Source, read_source
from mpiflow.errors import LaunchError
from mpiflow.planning.parts import FOLDER, is_part
from mpiflow.report.provenance import Provenance, Record
from mpiflow.report.rocrate import METADATA, CrateFile, CrateFiles, to_rocrate
from mpiflow.report.summary import count
from mpiflow.storage.pack import is_inside

RECORD = "record.json"


@dataclass
class Made:
    """What came of it.

    Attributes:
        num_entities: Entities in the metadata.
        num_files: Files in the folder, without the metadata.
        left_out: Files that are not in it, and why.
    """

    num_entities: int = 0
    num_files: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def make_crate(found: Provenance, data: bytes, folder: Path, moved: Path | None, author: str, license: str, most: int,
               affiliation: str = "") -> Made:
    """Make the folder of a crate; it appears when it is complete.

    Args:
        found: What the run did.
        data: Its record, as it was read.
        folder: Where; must not be there.
        moved: Where the workflow is now, if not where it was.
        author: Who ran it.
        license: URL or text.
        most: Copy input files of at most this size together [bytes].
        affiliation: The organization that the author belongs to; empty if nobody says.

    Raises:
        DocumentError: The workflow is not there any more.
        LaunchError: The folder is there already, or cannot be written.
    """
    if folder.exists():
        raise LaunchError(f"{folder} is there already; a crate is made in a new folder")
    source, made = read_source(found.record.source, moved), Made()
    if source.digest != found.record.source.digest:
        made.left_out[source.name] = "as it was when it ran: it has changed since, and the crate has it as it is now"
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        aside.mkdir(parents=True)
        files = _Copying(aside, made).all(found.record, source, data, most)
        crate = to_rocrate(found, files, author, license, datetime.now(UTC).date().isoformat(), affiliation)
        (aside / METADATA).write_text(json.dumps(crate, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.rename(aside, folder)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise LaunchError(f"cannot make {folder}: {error.strerror}{where}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    made.num_entities = len(crate["@graph"])
    return made


def _about(record: Record, source: Source) -> str:
    """What people read who open the folder."""
    return (f"# Run of {record.name}\n\nA run of the workflow `{source.name}` by mpiflow {record.source.version}, started "
            f"{record.started}, on {count(len(record.hosts), 'rank')}: what was run, what it made, and how.\n\n"
            f"`{METADATA}` says what each file is (RO-Crate 1.1, Provenance Run Crate); `{RECORD}` is the record of the run,\n"
            f"`mpiflow report {RECORD}` makes a page for a browser of it.\n")


@dataclass
class _Copying:
    folder: Path
    made: Made

    def all(self, record: Record, source: Source, data: bytes, most: int) -> CrateFiles:
        document = self._write(source.name, source.document)
        code = tuple([self._write(name, text) for name, text in sorted(source.files.items())])
        results = {name: file for name in dict.fromkeys(record.source.results.values())
                   if (file := self._result(Path(record.source.folder, name), name))}
        return CrateFiles(document, code, results, self._inputs(record, most), self._write(RECORD, data),
                          self._write("README.md", _about(record, source).encode()))

    def _write(self, name: str, data: bytes) -> CrateFile:
        place = self._place(name)
        place.write_bytes(data)
        self.made.num_files += 1
        return CrateFile(str(place.relative_to(self.folder)), len(data), hashlib.sha256(data).hexdigest())

    def _place(self, name: str) -> Path:
        """Where a file goes: as it is called if that is inside, and not taken."""
        wanted = PurePath(name) if is_inside(name) and name != METADATA else PurePath("files", PurePath(name).name)
        place, number = self.folder / wanted, 1
        while place.exists():
            number += 1
            place = self.folder / wanted.with_name(f"{number}-{wanted.name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def _copy(self, file: Path, name: str) -> CrateFile:
        place = self._place(name)
        shutil.copyfile(file, place)
        self.made.num_files += 1
        with open(place, "rb") as opened:
            hashed = hashlib.file_digest(opened, "sha256").hexdigest()
        return CrateFile(str(place.relative_to(self.folder)), place.stat().st_size, hashed)

    def _result(self, file: Path, name: str) -> CrateFile | None:
        if not file.is_file():
            self.made.left_out[name] = "a file of results that is not there"
            return None
        made, parts = self._copy(file, name), file.with_name(file.name + FOLDER)
        for part in sorted(parts.iterdir()) if parts.is_dir() else ():
            if is_part(part.name):                          # where the file refers to it, whatever that is called now
                self._copy(part, str(PurePath(made.path).parent / parts.name / part.name))
        return made

    def _inputs(self, record: Record, most: int) -> Mapping[str, CrateFile]:
        """Small ones are copied, of others the crate says where they are."""
        paths = [file for file in dict.fromkeys(task.file for task in record.tasks if task.file) if Path(file).is_file()]
        sizes = {path: Path(path).stat().st_size for path in paths}
        fits = sum(sizes.values()) <= most
        if not fits:
            self.made.left_out |= {path: f"an input of {size} bytes (see --inputs); the crate says where it is"
                                   for path, size in sizes.items()}
        return {path: self._copy(Path(path), f"inputs/{Path(path).name}") if fits else CrateFile(Path(path).as_uri(), size)
                for path, size in sizes.items()}
