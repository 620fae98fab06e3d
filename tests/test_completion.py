"""Completion: the script for bash does what it should in a real bash; those of others are whole."""

import shutil
import subprocess

import pytest

from mpiflow.cli.completion import options
from mpiflow.cli.main import VERBS, parsers


def completed(command, tmp_path, *words):
    """What a real bash offers for the last of ``words``."""
    (tmp_path / "a.yaml").touch()
    script = command("completion", "bash").out
    line = " ".join(f"'{word}'" for word in ("mpiflow", *words))
    program = f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words)}; _mpiflow; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=20)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(("words", "offered"), [
    (["gr"], ["graph"]), (["a"], ["a.yaml"]), (["ls", "--op"], ["--operations"]), (["graph", "--format", "s"], ["svg"]),
    (["export", "ro"], ["rocrate"]), (["run", "--keep"], ["--keep-going"]), (["get", "x", "-o", "a"], ["a.yaml"]),
    (["completion", ""], ["bash", "zsh", "fish", "-h", "--help", "a.yaml"])], ids=str)
def test_bash_offers_verbs_options_values_and_files(command, tmp_path, words, offered):
    assert completed(command, tmp_path, *words) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_other_shells_name_every_verb_and_option(command, shell):
    script = command("completion", shell).out
    for verb, parser in parsers()[1].items():
        assert verb in script
        for option in options(parser):
            assert option.names[-1].lstrip("-") in script
    for line in script.splitlines():
        assert line.count("'") % 2 == 0, line
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, timeout=20).returncode == 0


def test_every_verb_has_help_that_teaches_by_example(command):
    for verb in VERBS:
        ended = command(verb, "--help")
        assert ended.status == 0 and VERBS[verb].HELP.split()[0] in ended.out


@pytest.mark.parametrize(("words", "message"), [
    (["ls", "--operation", "--isntances"], "did you mean '--instances'?"), (["export", "rocrat", "x"], "did you mean 'rocrate'?"),
    (["graph", "w.yaml", "--format", "mermiad"], "did you mean 'mermaid'?"), (["graph", "w.ymal"], "did you mean 'w.yaml'?"),
    (["export", "prov", "recrod.json"], "did you mean 'record.json'?"), (["check", "w.yml"], "did you mean 'w.yaml'?"),
    (["grpah", "w.yaml"], "did you mean 'graph'?")])
def test_what_is_misspelt_is_suggested(ran, command, words, message):
    ended = command(*words, cwd=ran)
    assert ended.status == 2 and message in ended.err
