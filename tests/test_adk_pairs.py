"""Displacements and the RMSD matrix of the adenylate kinase example are those of MDAnalysis; its blocks rotate."""

from __future__ import annotations

import importlib.util
import json

import h5py
import MDAnalysis
import numpy as np
import pytest
import yaml
from launching import EXAMPLES, mpiflow
from MDAnalysis.analysis import diffusionmap, msd, rms
from MDAnalysisTests.datafiles import DCD, PSF

EXAMPLE = EXAMPLES / "adk"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The H5MD file."""
    spec = importlib.util.spec_from_file_location("adk_prepare", EXAMPLE / "prepare.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.prepare(tmp_path_factory.mktemp("adk") / "adk.h5md")


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    """The results of four ranks."""
    folder = tmp_path_factory.mktemp("run")
    done = mpiflow(4, EXAMPLE / "pairs.yaml", "--results", folder, "--set", f"data={data}", cwd=folder)
    assert done.status == 0, done.out + done.err
    with h5py.File(folder / "results" / "pairs.h5") as file:
        return {name: item[:] for name, item in file.items()}


@pytest.fixture(scope="module")
def universe():
    return MDAnalysis.Universe(PSF, DCD)


def test_mean_square_displacements_over_all_lags(found, universe):
    expected = msd.EinsteinMSD(universe, select="name CA", msd_type="xyz", fft=False).run().results.timeseries
    assert found["long"].shape == (98,) and found["short"].shape == (21,)
    np.testing.assert_allclose(found["long"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["short"], expected[:21], rtol=1e-5)


def test_rmsd_of_every_pair_of_frames(found, universe):
    def superposed(one, other, weights=None):
        return rms.rmsd(one, other, weights, superposition=True)

    expected = diffusionmap.DistanceMatrix(universe, select="name CA", metric=superposed).run().results.dist_matrix
    np.testing.assert_allclose(found["rmsd"], expected, atol=1e-5 * expected.max())
    np.testing.assert_allclose(found["rmsd"], found["rmsd"].T, atol=1e-6)


# A share is a quarter of the frames. Twenty frames behind a block are the whole next one, and two thirds of the one behind that.
@pytest.mark.parametrize(("step", "shares"), [("rmsd", 6), ("long", 6), ("short", 6)])
def test_blocks_move_no_more_than_on_a_ring(step, shares, data, tmp_path):
    document = yaml.safe_load((EXAMPLE / "pairs.yaml").read_text())
    document["operations"] = [str(EXAMPLE / "pairs.py")]
    document["steps"] = {name: document["steps"][name] for name in ("frames", step)}
    document["results"] = {step: "one.h5"}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(document))
    planned = mpiflow(None, "plan", tmp_path / "one.yaml", "-n", "4", "--json", "--set", f"data={data}", cwd=tmp_path)
    tasks = json.loads(planned.out)["tasks"]
    moved = sum(len(task["route"]) * task["nbytes"] for task in tasks if task["operation"] in ("chosen", "_rows"))
    assert moved <= 1.1 * shares * 98 * 214 * 12 / 4


def test_check_finds_nothing_wrong(data, tmp_path):
    checked = mpiflow(None, "check", EXAMPLE / "pairs.yaml", "--set", f"data={data}", cwd=tmp_path)
    assert checked.status == 0, checked.err
