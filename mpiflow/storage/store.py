"""Finding and loading what earlier runs have saved: of every journal in a store, all that is undamaged."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from mpiflow.errors import DamagedError, MachineError
from mpiflow.operations.values import Value
from mpiflow.storage.blocks import read_block, unpack
from mpiflow.storage.journal import FOLDER, SUFFIX
from mpiflow.storage.records import Begun, Ended, Made, Saved, check_format, decode_head, read_record, scan
from mpiflow.storage.shelf import block_file


class Place(Struct, frozen=True, array_like=True, gc=False):
    """Where the value of a block is.

    Attributes:
        id: Id of the block.
        file: A journal, or a file of its own.
        offset: Where its record begins in the journal [bytes]; 0 in a file of its own.
    """

    id: str
    file: str
    offset: int


@dataclass(slots=True)
class Found:
    """What is in a store; by id, in the order of the names of journals and of the records in them.

    The newest of several records of a block counts: of a file of results that was written again, it alone fits the file.

    Attributes:
        made: The task of each block.
        places: Where its value is. Those in files of their own have yet to be looked at.
        damages: What is wrong with journals, for people, each with the file's name.
        unfinished: Journals without an end: of a run that goes on, was killed, or could not write.
    """

    made: dict[str, Made] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    damages: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)


def read_store(store: Path) -> Found:
    """Look what is in ``store``; nothing if it is not there. Values are checked, but not kept. Local.

    Raises:
        MachineError: It cannot be listed, or a journal has a format that is not ours.
    """
    found = Found()
    folder = store / FOLDER
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return found
    except OSError as error:
        raise MachineError(f"cannot read the store {store}: {os.strerror(error.errno)}") from None
    for name in names:
        if name.endswith(SUFFIX):
            _read_journal(store, str(folder / name), found)
    return found


def _read_journal(store: Path, file: str, found: Found) -> None:
    shown = file.encode(errors="backslashreplace").decode()     # names of files need not be UTF-8, which messages are
    damages: list[str] = []
    ended = False
    try:
        opened = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for offset, head in scan(opened, damages):
                ended = _take(store, file, offset, head, found, damages)
        finally:
            os.close(opened)
    except OSError as error:
        damages.append(f"cannot be read: {os.strerror(error.errno)}")
    if not ended:
        found.unfinished.append(shown)
    found.damages += [f"{shown}: {damage}" for damage in damages]


def _take(store: Path, file: str, offset: int, head: bytes, found: Found, damages: list[str]) -> bool:
    """Add what a record says; whether it is the last one."""
    try:
        said = decode_head(head)
    except (msgspec.DecodeError, UnicodeError):
        damages.append(f"the record at byte {offset} says nothing that is known")
        return False
    if type(said) is Saved:
        made = said.made
        found.made[made.id] = made
        found.places[made.id] = Place(made.id, file, offset) if said.inline else (
            Place(made.id, str(block_file(store, made.id)), 0))
    elif type(said) is Begun:
        check_format(file, said.format)
    return type(said) is Ended


def load(place: Place) -> Value:
    """Load the value of a block, read-only, and check every byte of it. Local.

    Raises:
        DamagedError: It is not what was saved, or not there any more.
        MachineError: It cannot be read.
    """
    try:
        return _load_inline(place) if place.offset else read_block(place.file, place.id)
    except FileNotFoundError:
        raise DamagedError(f"{place.file}: not there any more") from None
    except OSError as error:
        raise MachineError(f"cannot read {place.file}: {os.strerror(error.errno)}") from None


def _load_inline(place: Place) -> Value:
    opened = os.open(place.file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head, data = read_record(opened, place.offset, place.file)
    finally:
        os.close(opened)
    where = f"{place.file}: record at byte {place.offset}"
    try:
        said = decode_head(head)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise DamagedError(f"{where}: {error}") from None
    if type(said) is not Saved or said.made.id != place.id:
        raise DamagedError(f"{where}: not the block {place.id}")
    return unpack(data, where)
