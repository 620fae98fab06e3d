"""The types of a workflow document: what may stand in the YAML, and the source of its JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct, field

LARGEST = 2**63 - 1
Blocks = Annotated[int, Meta(ge=1, le=1_000_000, description="Blocks along axis 0 (of each file, if a glob).")]
Replicas = Annotated[int, Meta(ge=1, le=1_000_000, description="Ranks that hold each block, as far as there are so many.")]
Extent = Annotated[int, Meta(ge=0, le=LARGEST)]
Whole = Annotated[int, Meta(ge=-LARGEST, le=LARGEST)]
Float = Literal["float32", "float64"]
Number = int | float
Shape = Annotated[list[Extent], Meta(min_length=1, description="Extents; cut into blocks along the first.")]
Rows = Annotated[list[Extent], Meta(min_length=2, max_length=2, description="The first row, and the one behind the last.")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Word = str | int | float
Command = Annotated[list[Word], Meta(min_length=1, description="A program and its arguments; no shell reads them.")]
Format = Literal["npy", "hdf5", "text", "bytes"]
ReadFormat = Literal["npy", "hdf5", "text", "bytes", "size"]
OnError = Literal["stop", "skip", "continue"]
Items = Annotated[list[str | int | float | bool], Meta(min_length=1, description="The values of the variable, in order.")]
Conditions = Annotated[list[str], Meta(min_length=1)]


class Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mapping of the document: no key but its fields."""


class Random(Part):
    """Uniformly distributed numbers, the same for any number of blocks and ranks."""

    shape: Shape
    seed: Extent = 0
    low: Number = 0
    high: Number = 1
    dtype: Float = "float64"


class Normal(Part):
    """Normally distributed numbers, the same for any number of blocks and ranks."""

    shape: Shape
    seed: Extent = 0
    mean: Number = 0
    std: Number = 1
    dtype: Float = "float64"


class Arange(Part):
    """The integers from ``start`` up to ``stop``, without ``stop``."""

    stop: Whole
    start: Whole = 0
    dtype: Literal["int32", "int64", "float32", "float64"] = "int64"


class Full(Part):
    """One value everywhere."""

    shape: Shape
    value: Number
    dtype: Literal["uint8", "int32", "int64", "float32", "float64"] = "float64"


class Dataset(Part):
    """Where a dataset comes from; exactly one of random, normal, arange, full and file."""

    random: Random | None = None
    normal: Normal | None = None
    arange: Arange | None = None
    full: Full | None = None
    file: Annotated[str, Meta(description="HDF5, H5MD, NetCDF-4 or .npy file, or a glob of such.")] | None = None
    path: Annotated[str, Meta(description="The array inside an HDF5 file.")] | None = None
    taken_as: Annotated[Literal["array", "bytes"], Meta(description="What it holds, or the file itself, byte by byte.")] = field(
        name="as", default="array")
    rows: Rows | None = None
    blocks: Blocks = 1
    rank: Annotated[Extent, Meta(description="Rank (modulo size) that makes and holds it.")] | None = None
    replicas: Replicas = 1
    unit: str | None = None
    tags: list[str] = []

    SOURCES: ClassVar[tuple[str, ...]] = ("random", "normal", "arange", "full", "file")


class Values(Part):
    """Where the values of a variable come from; exactly one of file, files, blocks and rows."""

    file: Annotated[str, Meta(description="Text file with one value a line, or a .csv or .tsv file.")] | None = None
    column: Annotated[str, Meta(description="The column of a .csv or .tsv file.")] | None = None
    files: Annotated[str, Meta(description="A pattern; the values are the paths of the files that match.")] | None = None
    blocks: Annotated[str, Meta(description="A dataset or a step; the values are its blocks.")] | None = None
    rows: Annotated[str, Meta(description="A dataset or a step; the values are its rows.")] | None = None

    SOURCES: ClassVar[tuple[str, ...]] = ("file", "files", "blocks", "rows")


Variables = Annotated[dict[Name, Items | Values | str], Meta(min_length=1)]


class Given(Part):
    """A file that a program finds: ``data`` written to it."""

    data: str
    file: Annotated[str, Meta(description="Its name; NAME.npy if there is none.")] | None = None
    format: Annotated[Format, Meta(description="How it is written; follows from its suffix.")] | None = None


class Made(Part):
    """A file that a program leaves."""

    file: str
    format: Annotated[ReadFormat, Meta(description="How it is read; follows from its suffix.")] | None = None
    path: Annotated[str, Meta(description="The array inside an HDF5 file; else that of the output's name.")] | None = None
    keep: Annotated[str, Meta(description="Where it is kept as a file, under the results.")] | None = None


class Repeat(Part):
    """How often a step is done again, with what it has made itself."""

    feed: Annotated[dict[Name, str], Meta(min_length=1, description="Input to what the turn before has made for it.")]
    until: Annotated[str, Meta(description="No turn follows one that makes this true.")]
    at_most: Annotated[int, Meta(ge=1, le=10_000, description="Turns that there may be.")] = field(name="at-most")
    on_limit: Annotated[Literal["fail", "accept"], Meta(description="What the last possible turn means.")] = field(
        name="on-limit", default="fail")


class Step(Part):
    """One step: ``run`` is an expression, the name of an operation that ``in`` and ``with`` belong to, or a program.

    Instead of ``run``, ``workflow`` names another document, which is done with these inputs and parameters.
    """

    run: str | Command | None = None
    workflow: Annotated[str, Meta(description="Another document; 'in' gives its inputs, 'with' its params.")] | None = None
    inputs: Annotated[dict[Name, str | Number | Given], Meta(description="Argument, or file, to expression.")] = field(
        name="in", default={})
    parameters: Annotated[dict[Name, Any], Meta(description="Argument to plain value.")] = field(name="with", default={})
    out: Annotated[dict[Name, str | Made], Meta(description="What a program makes: name to file.")] = {}
    stdout: Annotated[str, Meta(description="The file that takes what a program prints.")] | None = None
    env: Annotated[dict[Name, Word], Meta(description="Variables of a program's environment.")] = {}
    loop: Annotated[Variables, Meta(description="Variable to its values: a grid of all combinations.")] = field(
        name="for", default={})
    beside: Annotated[Variables, Meta(description="Variable to its values, taken side by side.")] = field(name="zip", default={})
    where: Annotated[str | Conditions, Meta(description="What must hold for the variables; several must hold together.")] = ""
    when: Annotated[str | bool, Meta(description="What must be true for the step to run.")] | None = None
    repeat: Repeat | None = None
    ranks: Annotated[int, Meta(ge=1, le=1_000_000, description="Ranks that run a parallel operation together.")] | Annotated[
        Literal["holders"], Meta(description="Those that hold blocks of its first dataset.")] | None = None
    replicas: Replicas = 1
    retries: Annotated[int, Meta(ge=0, le=1000, description="How often a task is tried again when it fails.")] = 0
    timeout: Number | Annotated[str, Meta(description="Seconds that a task may take, or 90s, 10m, 2h.")] | None = None
    on_error: Annotated[OnError, Meta(description="What becomes of the rest when a task fails.")] = field(
        name="on-error", default="stop")
    unit: str | None = None
    tags: list[str] = []


class ResultFile(Part):
    """The file that a result is written to, and in how many parts."""

    file: str
    parts: Annotated[int, Meta(ge=1, le=100_000, description="Files that share its blocks, written where these are.")] = 1


class Document(Part):
    """A whole workflow document."""

    mpiflow: Literal[1]
    name: Annotated[str, Meta(min_length=1)]
    steps: Annotated[dict[Name, str | Step], Meta(min_length=1)]
    params: dict[Name, Any] = {}
    operations: Annotated[list[str], Meta(description="Python files with @operation functions.")] = []
    inputs: Annotated[list[Name], Meta(description="What another document gives this one, as datasets.")] = []
    datasets: dict[Name, Dataset] = {}
    results: Annotated[dict[str, str | ResultFile], Meta(description="Step or dataset to file.")] = {}

    @property
    def files(self) -> dict[str, str]:
        """The file of each result."""
        return {name: written if isinstance(written, str) else written.file for name, written in self.results.items()}

    def parts(self, name: str) -> int:
        """In how many parts a result is written, at most."""
        written = self.results.get(name, "")
        return 1 if isinstance(written, str) else written.parts
