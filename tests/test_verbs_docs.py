"""docs/verbs.md is true: its commands are understood, its keys are all, and every verb that it should tell of is there."""

import re
import shlex
from pathlib import Path

import pytest

from mpiflow.catalog.queries import NUMBERS, TEXTS, parse_query
from mpiflow.cli.main import VERBS, parsers

TEXT = (Path(__file__).parents[1] / "docs" / "verbs.md").read_text()
COMMANDS = [line.strip().removeprefix("$ ") for line in TEXT.splitlines() if line.startswith("    $ mpiflow ")]
HELP = [line.strip() for module in VERBS.values() for line in getattr(module, "EPILOG", "").splitlines()]
EXAMPLES = [line.partition("  ")[0] for line in HELP if line.startswith("mpiflow ")]


@pytest.mark.parametrize("line", [*COMMANDS, *EXAMPLES])
def test_a_command_is_understood(line):
    words = shlex.split(line.partition(" > ")[0])[1:]
    chosen = parsers()[0].parse_args(words)
    assert chosen.word == words[0]
    if chosen.word == "ls" and "szie" not in line:
        parse_query(" ".join(chosen.query))


def test_there_are_examples():
    assert len(COMMANDS) > 10 and len(EXAMPLES) > 10


def test_every_key_of_a_query_is_told():
    table = TEXT[TEXT.index("`KEY:PATTERN`"):TEXT.index("What has blanks")]
    assert set(TEXTS) | set(NUMBERS) <= set(re.findall(r"`(\w+)`", table))


def test_every_verb_of_the_page_is_there():
    for verb in ("ls", "show", "get", "graph", "export", "gc", "doctor", "bench", "completion"):
        assert verb in VERBS and f"`{verb}`" in TEXT
