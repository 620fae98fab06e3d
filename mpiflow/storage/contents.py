"""What a store holds, as people see it: named datasets and operations, put together from the journals of all ranks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from mpiflow.errors import LaunchError, MachineError, OperationError
from mpiflow.operations.layout import Forms, form_of, forms
from mpiflow.planning.tasks import Kind
from mpiflow.storage.records import Made, Share
from mpiflow.storage.results import Parts, result_forms, stamp
from mpiflow.storage.store import Found, Place, load, read_store


@dataclass
class Dataset:
    """One dataset of which a store knows something.

    Attributes:
        workflow: Name of the workflow that made it.
        name: As the document calls it, with the instance if it is one of a loop: sweep[T=300].
        id: Hash of its recipe.
        num: How many blocks it has.
        unit: Unit of its elements, or empty.
        tags: Words chosen by the user.
        blocks: The blocks that are in the store, by number.
        written: The file of results that it is in, if any, as its record says.
        inside: Its name in that file.
        instance: Whether it is one instance of a loop.
    """

    workflow: str
    name: str
    id: str
    num: int
    unit: str = ""
    tags: tuple[str, ...] = ()
    blocks: dict[int, Made] = field(default_factory=dict)
    written: Made | None = None
    inside: str = ""
    instance: bool = False

    @property
    def complete(self) -> bool:
        """Whether every block is in the store."""
        return len(self.blocks) == self.num

    @property
    def nbytes(self) -> int:
        """Size of the blocks that are in the store [bytes]."""
        return sum(made.nbytes for made in self.blocks.values())

    @property
    def ended(self) -> float:
        """When its newest block was made, or written to a file, as a time of day [s]."""
        return max(made.ended for made in self.records)

    @property
    def records(self) -> list[Made]:
        """What is known of it, block by block."""
        return [*(self.blocks[number] for number in sorted(self.blocks)), *([self.written] if self.written else [])]

    @property
    def operations(self) -> list[str]:
        """Names of the operations that made its blocks."""
        return sorted({made.operation for made in self.blocks.values() if made.operation})

    @cached_property
    def in_file(self) -> Forms:
        """Columns, dtypes and shapes in the file of results, if not all blocks are in the store; empty if it is in none."""
        return _in_file(self.written.file, self.inside) if self.written and not self.complete else ()

    @cached_property
    def form(self) -> Forms:
        """Columns, dtypes and shapes; of the whole if all blocks are there and fit together, else of the first block.

        Of what is whole in a file of results only, they are looked up there. Empty if they are not known.
        """
        made = [self.blocks[number] for number in sorted(self.blocks)]
        if self.in_file or not all(one.form for one in made) or not made:
            return self.in_file
        try:
            parts = [forms(one.form) for one in made]
            return Parts(parts, tuple).whole() if self.complete and len(made) > 1 else parts[0]
        except (OperationError, ValueError, TypeError):     # blocks that do not fit together, types of another numpy
            return ()


@dataclass(frozen=True, slots=True)
class Operation:
    """What a store knows of one operation, as its code was: how often it ran for blocks that are saved, and how long.

    Attributes:
        name: Its name.
        code: Hash of its code.
        workflows: Workflows that called it.
        steps: Their steps that did.
        num: Tasks whose blocks are saved.
        seconds: For how long they ran together [s].
        nbytes: Size of what they made [bytes].
        ended: When the last of them was done, as a time of day [s].
    """

    name: str
    code: str
    workflows: tuple[str, ...]
    steps: tuple[str, ...]
    num: int
    seconds: float
    nbytes: int
    ended: float


@dataclass(frozen=True, slots=True)
class Contents:
    """All that is in a store.

    Attributes:
        found: Blocks and what is wrong.
        datasets: Datasets, newest last.
    """

    found: Found
    datasets: list[Dataset]

    @property
    def newest(self) -> list[Dataset]:
        """Of datasets with one name in one workflow the newest, in order of workflow and name."""
        last = {(dataset.workflow, dataset.name): dataset for dataset in self.datasets}
        return [last[key] for key in sorted(last)]

    @property
    def operations(self) -> list[Operation]:
        """The operations of all blocks, in order of name."""
        groups: dict[tuple[str, str], list[Made]] = {}
        for made in self.found.made.values():
            if made.operation:
                groups.setdefault((made.operation, made.code), []).append(made)
        return [_operation(*key, groups[key]) for key in sorted(groups)]

    def places(self, dataset: Dataset) -> list[Place]:
        """Where the blocks of a dataset are, in order."""
        return [self.found.places[dataset.blocks[number].id] for number in sorted(dataset.blocks)]

    def value(self, dataset: Dataset) -> Parts:
        """Give a dataset of which all blocks are there, one block in memory at a time. Local.

        Raises:
            DamagedError: A block is not what was saved, or has gone; when it is read.
        """
        places = self.places(dataset)
        made = [dataset.blocks[number] for number in sorted(dataset.blocks)]
        known = all(one.form for one in made)
        parts = [forms(one.form) for one in made] if known else [form_of(load(place)) for place in places]
        return Parts(parts, lambda: map(load, places))

    def missing(self, dataset: Dataset) -> list[int]:
        """Numbers of the blocks that are not in the store, or whose files have gone."""
        gone = {number for number, made in dataset.blocks.items() if not _there(self.found.places[made.id])}
        return [number for number in range(dataset.num) if number not in dataset.blocks or number in gone]

    def file(self, dataset: Dataset) -> tuple[Path, bool] | None:
        """The file of results that a dataset is in, if it is there, and whether it is as it was written. Local."""
        if dataset.written is None or not dataset.written.file:
            return None
        file = Path(dataset.written.file)
        try:
            return file, bool(np.array_equal(load(self.found.places[dataset.written.id]), stamp(file)))
        except (OSError, MachineError):
            return (file, False) if file.exists() else None


def read_contents(store: Path) -> Contents:
    """Look what is in ``store``, while a run may go on. Local.

    Raises:
        LaunchError: It is not there.
        MachineError: It cannot be read.
    """
    if not store.is_dir():
        raise LaunchError(f"no store {store}; a run makes one (--store DIR says where)")
    found = read_store(store)
    return Contents(found, _datasets(found.made.values()))


def _datasets(made: Iterable[Made]) -> list[Dataset]:
    """Put blocks together; what all instances of a loop make is a dataset, and what each of them does is one as well."""
    found: dict[tuple[str, str, str], Dataset] = {}

    def dataset(one: Made, share: Share, name: str, id: str, num: int) -> Dataset:
        key = one.workflow, name, id
        if key not in found:
            found[key] = Dataset(one.workflow, name, id, num, share.unit, share.tags, instance=bool(share.part_id == id))
        return found[key]

    for one in made:
        for share in one.shares:
            part = f"{share.name.partition('/')[0] if one.kind == Kind.WRITE else share.name}[{share.instance}]"
            if one.kind == Kind.WRITE:
                written = dataset(one, share, part if share.part_id else share.name, share.id, share.num)
                written.written, written.inside = one, share.name
                continue
            dataset(one, share, share.name, share.id, share.num).blocks[share.number] = one
            if share.part_id:
                dataset(one, share, part, share.part_id, share.part[1]).blocks[share.part[0]] = one
    return sorted(found.values(), key=lambda dataset: (dataset.ended, dataset.workflow, dataset.name))


def _in_file(file: str, name: str) -> Forms:
    """Columns, dtypes and shapes of what is in a file of results; nothing if it cannot be read."""
    try:
        return _all_in_file(file)[name]
    except (MachineError, KeyError):
        return ()


@lru_cache
def _all_in_file(file: str) -> Mapping[str, Forms]:
    return result_forms(Path(file))


def _operation(name: str, code: str, made: list[Made]) -> Operation:
    return Operation(name, code, tuple(sorted({one.workflow for one in made})), tuple(sorted({one.step for one in made})),
                     len(made), sum(one.seconds for one in made), sum(one.nbytes for one in made), max(one.ended for one in made))


def _there(place: Place) -> bool:
    return place.offset > 0 or os.path.exists(place.file)
