"""``doctor``: what works here, and set-ups that are broken in ways that could make it hang or fail."""

import json
import os
from pathlib import Path

import pytest
from launching import mpiflow

from mpiflow.cli.doctor import remedy
from mpiflow.cli.launching import Ended, run_job
from mpiflow.report.findings import Finding, Health, findings_text
from mpiflow.storage.places import look_at


def looked(*words, **options):
    """The status, and what was found by name; the last of several."""
    ended = mpiflow(None, "doctor", "--json", *words, **options)
    assert "Traceback" not in ended.err
    return ended.status, {one["name"]: one for one in json.loads(ended.out)}


def script(file, text):
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def runs(pid):
    """Whether a process is there, and not only its exit status."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_here_mpi_launcher_links_and_hdf5_are_well(tmp_path):
    _, found = looked("--scratch", tmp_path, cwd=tmp_path)
    for name in ("python", "MPI", "launcher", "links", "HDF5"):
        assert found[name]["health"] == "ok", found[name]
    assert "mpi4py" in found["MPI"]["text"] and "µs" in found["links"]["text"] and "GB/s" in found["links"]["text"]
    assert found["deaths"]["health"] == "note" and not list(tmp_path.iterdir())


def test_a_launcher_that_hangs_is_ended_with_all_that_it_has_started(tmp_path):
    hanging = script(tmp_path / "mpirun", f"trap '' TERM; cd {tmp_path}; echo $$ > pid; sleep 1000 & echo $! > child; wait")
    status, found = looked("--mpirun", hanging, "--timeout", 20, cwd=tmp_path)
    assert status == 1 and found["launcher"]["health"] == "bad"
    assert "did not end within 20 s" in found["launcher"]["text"] and "it hangs" in found["launcher"]["remedy"]
    assert not [name for name in ("pid", "child") if runs((tmp_path / name).read_text().strip())]


def test_a_launcher_that_talks_nonsense_is_told(tmp_path):
    status, found = looked("--mpirun", script(tmp_path / "mpirun", "printf '\\377\\000 nonsense'; exit 0"), cwd=tmp_path)
    assert status == 1 and "nonsense" in found["launcher"]["text"]


@pytest.mark.parametrize(("status", "err", "said"), [
    (1, "Do not run as root; or use --allow-run-as-root", "OMPI_ALLOW_RUN_AS_ROOT=1"),
    (1, "There are not enough slots available", "oversubscribe"), (None, "did not end", "it hangs"),
    (1, "", "must belong to one MPI")])
def test_what_to_do_about_a_launcher_that_does_not_work(status, err, said):
    assert said in remedy(Ended(status, "", err))


def test_a_small_job_has_what_the_user_has_set_for_mpi_but_nothing_of_a_job_around(monkeypatch):
    show = ["sh", "-c", "echo $OMPI_MCA_btl.$PMI_RANK.$TMPDIR"]
    monkeypatch.setenv("OMPI_MCA_btl", "self")
    assert run_job(show, 20).out.startswith("self..")
    monkeypatch.setenv("PMI_RANK", "3")
    assert run_job(show, 20).out.startswith("..")


def test_why_a_job_failed_is_our_own_message_if_there_is_one():
    assert Ended(2, "", "-----\nmpiflow: error: no MPI\n-----\n").why == "no MPI"
    assert Ended(1, "", "-----\n  not enough slots  \n-----\n").why == "not enough slots"


def test_without_mpi_and_without_a_scratch_the_rest_is_looked_at(tmp_path):
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py/__init__.py").write_text("raise ImportError('libmpi.so.12: not found')")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[1])])
    status, found = looked("--scratch", tmp_path / "gone", cwd=tmp_path, env={"PYTHONPATH": path})
    assert status == 1 and "libmpi.so.12: not found" in found["MPI"]["text"] and "pip install" in found["MPI"]["remedy"]
    assert found["scratch"]["health"] == "bad" and found["HDF5"]["health"] == "ok" and "launcher" not in found


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path):
    found = look_at(tmp_path / "a" / "b")
    assert (found.folder, found.refused, found.unlocked, found.broken) == (tmp_path, "", "", "") and found.free > 0
    assert look_at(Path("/proc/nothing")).refused


def test_lines_fit_a_terminal_and_say_what_to_do():
    bad = Finding("x", Health.BAD, "bad", "do this\nor " + "that " * 30)
    text = findings_text([Finding("MPI", Health.OK, "well " * 30), bad])
    assert all(len(line) <= 80 for line in text.splitlines()) and text.endswith("not well: x") and "→ do this" in text
    assert findings_text([Finding("x", Health.NOTE, "n")]).endswith("all is well")


def test_the_probe_is_not_offered():
    assert "--probe" not in mpiflow(None, "doctor", "--help").out
