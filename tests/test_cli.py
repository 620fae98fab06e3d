"""The command line as a user meets it."""

import json
import sys

import pytest
from launching import EXAMPLES, launch, mpiflow

from mpiflow.cli import main

SCENARIO = EXAMPLES / "scenarios" / "2-linear-two.yaml"


def test_a_run_says_what_ran_where_what_moved_and_where_results_are(tmp_path):
    ended = mpiflow(3, SCENARIO, "--record", "run.json", cwd=tmp_path)
    assert (ended.status, ended.err) == (0, "")
    assert "scenario-2: done in" in ended.out and "on 3 ranks, 1 node" in ended.out
    assert "moved between ranks: 1 block, 8000 bytes" in ended.out
    assert "result: results/scenario-2.h5 (answer), written by rank" in ended.out
    record = json.loads((tmp_path / "run.json").read_text())
    assert [task["state"] for task in record["tasks"]] == ["done"] * 6
    assert sum(nbytes for *_, nbytes in record["moved"]) == 8000


def test_without_mpirun_it_runs_on_one_rank(tmp_path):
    ended = mpiflow(None, SCENARIO, cwd=tmp_path)
    assert ended.status == 0 and "on 1 rank," in ended.out


@pytest.mark.parametrize("num_ranks", [None, 8])
@pytest.mark.parametrize(("arguments", "message"), [
    (["chekc", "x"], "no verb and no file 'chekc'; did you mean 'check'?"),
    (["run"], "the following arguments are required: workflow"),
    ([SCENARIO, "--resluts", "x"], "unrecognized arguments: --resluts x; did you mean '--results'?"),
    ([SCENARIO, "--results", SCENARIO], "results go into a folder, and"),
    ([SCENARIO, "--set", "n"], "--set n: must have the form NAME=VALUE"),
    ([SCENARIO, "--set", "m=3"], "--set m: the document has no parameter 'm'"),
    ([SCENARIO, "--force", "answer"], "--force is for runs that take from earlier ones, with --resume or --cache"),
    ([SCENARIO, "--resume", "--force", "anwser"], "--force anwser: no such step; did you mean 'answer'?"),
    ([SCENARIO, "--grace", "soon"], "argument --grace: 'soon' is no time in seconds of at least 0"),
    (["nowhere.yaml"], "nowhere.yaml: cannot read the workflow: No such file or directory"),
])
def test_a_wrong_command_line_is_one_message_and_status_2(tmp_path, num_ranks, arguments, message):
    ended = mpiflow(num_ranks, *arguments, cwd=tmp_path)
    assert ended.status == 2
    assert ended.err.count("mpiflow: error:") == 1 and message in ended.err


def test_help_is_printed_once_under_mpirun():
    ended = mpiflow(4, "--help")
    assert ended.status == 0
    assert ended.out.count("exit status:") == 1


@pytest.mark.parametrize("verb", ["", *main.VERBS])
def test_help_fits_into_80_columns(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    whole, verbs = main.parsers()
    assert [line for line in verbs.get(verb, whole).format_help().splitlines() if len(line) > 80] == []


def test_check_finds_nothing_wrong_with_the_examples():
    for file in sorted(EXAMPLES.glob("*/*.yaml")):
        if file.parent.name not in ("adk", "chain"):        # these need something made first; they have tests of their own
            ended = mpiflow(None, "check", file)
            assert (ended.status, ended.err) == (0, ""), ended.err


def test_an_example_runs_from_one_file_as_its_page_says(tmp_path):
    pack = tmp_path / "two.mpiflow"
    assert mpiflow(None, "pack", EXAMPLES / "scenarios" / "2-linear-two.yaml", "-o", pack).status == 0
    ended = mpiflow(4, pack, cwd=tmp_path)
    assert ended.status == 0 and "written by rank" in ended.out, ended.err


def test_schema_is_json():
    ended = mpiflow(None, "schema")
    assert json.loads(ended.out)["title"] == "mpiflow workflow"


WITHOUT_MPI = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mpi4py":
            raise ImportError("no mpi4py here")
sys.meta_path.insert(0, Refuse())
import mpiflow
from mpiflow.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("arguments", "status"), [
    (["--version"], 0), (["--help"], 0), (["schema"], 0), (["check", SCENARIO], 0), (["graph", SCENARIO], 0),
    (["completion", "zsh"], 0), ([SCENARIO], 2)])
def test_every_verb_but_run_works_without_mpi(arguments, status):
    ended = launch([sys.executable, "-c", WITHOUT_MPI, *map(str, arguments)])
    assert ended.status == status
    if status:
        assert "'run' needs MPI" in ended.err and "pip install" in ended.err


def test_a_bug_in_a_verb_is_told_as_one(monkeypatch, capsys):
    def broken(chosen):
        raise ZeroDivisionError("of mpiflow itself")

    monkeypatch.setattr(main.VERBS["schema"], "execute", broken)
    assert main.main(["schema"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("mpiflow: error: this is a bug of mpiflow\nTraceback") and "ZeroDivisionError: of mpiflow itself" in err
