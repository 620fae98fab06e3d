"""A rank that dies in a run of the Python API, where ranks outlive others: the program goes on."""

import tempfile

from chaos_launch import MAKE, STACKS
from launching import launch

PROGRAM = """
import os, signal, time
import numpy as np
import mpiflow as mf
from mpi4py import MPI

comm = MPI.COMM_WORLD

@mf.operation(linear=True)
def sides(x):
    if comm.rank == 2 and not os.path.exists("mark"):
        open("mark", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.array([np.sum(x < 0.5), np.sum(x >= 0.5)])

wf = mf.Workflow("deaths")
x = wf.dataset("x", random={"shape": [1000], "seed": 1}, blocks=8)
wf.step("counts", sides(x))
wf.step("doubled", x * 2)
run = mf.run(wf, comm, share=100, save=False)
again = mf.run(wf, comm, share=100, save=False)
said = run["counts"].tolist(), run.value("doubled").shape, len(run.warnings), again["counts"].tolist(), len(again.record["hosts"])
os.write(1, f"{said}\\n".encode())
"""


def test_a_program_survives_a_death_in_a_run_and_runs_again(tmp_path):
    stack = STACKS["ulfm"]
    assert (stack.programs / "mpirun").exists(), f"the environment for this is missing: run '{MAKE['ulfm']}'"
    (tmp_path / "program.py").write_text(PROGRAM)
    with tempfile.TemporaryDirectory() as scratch:
        ended = launch([stack.programs / "mpirun", "-n", "4", stack.programs / "python", "program.py"], cwd=tmp_path,
                       env={**stack.settings, "TMPDIR": scratch})
    assert ended.out.splitlines() == [str(([507, 493], (1000,), 1, [507, 493], 3))] * 3, ended.out + ended.err
    assert (tmp_path / "mark").exists() and ended.status == 0
