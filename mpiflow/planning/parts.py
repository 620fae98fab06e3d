"""The names of the files that a result is written to in parts. Pure.

The parts of ``out/x.h5`` lie in the folder ``out/x.h5.parts``. A name tells by a hash what is in the part, so that what an older
``out/x.h5`` refers to is never overwritten by something else.
"""

from __future__ import annotations

import re

FOLDER = ".parts"
_HASH = 12
_NAME = re.compile(rf"\.?[^/]+-\d+-[0-9a-f]{{{_HASH}}}\.h5(\.\d+\.part)?")


def part_file(file: str, name: str, number: int, hash: str) -> str:
    """Give the path of a part of the result ``name`` in ``file``: which one, and the hash of what is in it."""
    return f"{file}{FOLDER}/{name}-{number}-{hash[:_HASH]}.h5"


def is_part(name: str) -> bool:
    """Whether a file in such a folder is a part, or what is left of one that was never finished."""
    return _NAME.fullmatch(name) is not None
