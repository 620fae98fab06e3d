"""The adenylate kinase example gives what MDAnalysis gives, however the trajectory is cut."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import MDAnalysis
import numpy as np
import pytest
from MDAnalysis.analysis import align, pca, rms
from MDAnalysis.lib.distances import distance_array
from MDAnalysisTests.datafiles import DCD, PSF

from mpiflow.operations.registry import builtin_operations, load_module

EXAMPLE = Path(__file__).parents[1] / "examples" / "adk"
RELATIVE = 1e-5  # what float32 positions of some 30 angstrom can promise
DOMAINS = {"NMP": [30, 59], "LID": [122, 159]}
CUTS = {"whole": [], "halves": [49], "eight": [13, 26, 38, 50, 62, 74, 86], "ragged": [1, 2, 3, 90]}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def imported(path):
    """Import a script of the example, which is no package."""
    spec = importlib.util.spec_from_file_location(f"adk_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def near(actual, expected):
    """Compare to the tolerance, for small elements relative to the largest of its kind."""
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=RELATIVE * np.abs(expected).max())


def close(actual, expected):
    """Compare every element to the tolerance, relative to itself."""
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE)


def frozen(value):
    """Give arrays as operations get them: not to be written to."""
    if isinstance(value, dict):
        return {name: frozen(item) for name, item in value.items()}
    array = np.asarray(value).view()
    array.flags.writeable = False
    return array


def merged(operation, partials):
    """Merge partial results along a binary tree over block numbers."""
    while len(partials) > 1:
        pairs = [partials[i : i + 2] for i in range(0, len(partials), 2)]
        partials = [frozen(operation.merge(*pair)) if len(pair) == 2 else pair[0] for pair in pairs]
    return partials[0]


def split(operation, blocks, **others):
    """Run a linear operation block by block; merge and close the partial results."""
    total = merged(operation, [frozen(operation(block, **others)) for block in blocks])
    if operation.finish is None:
        return total
    return operation.finish(total, **{name: others[name] for name in operation.closing})


@pytest.fixture(scope="session")
def script():
    return imported(EXAMPLE / "prepare.py")


@pytest.fixture(scope="session")
def data(script, tmp_path_factory):
    """The H5MD file."""
    return script.prepare(tmp_path_factory.mktemp("adk") / "adk.h5md")


@pytest.fixture(scope="session")
def arrays(data):
    """What the workflow reads from the file."""
    paths = {
        "traj": "particles/all/position/value",
        "time": "particles/all/position/time",
        "masses": "particles/all/mass",
        "calpha": "parameters/calpha",
        "residue": "parameters/residue",
    }
    with h5py.File(data) as file:
        return {name: frozen(file[path][:]) for name, path in paths.items()}


@pytest.fixture(scope="session")
def ops():
    """Operations by name, as a document of the example would find them."""
    registry = builtin_operations()
    for name in ("ops.py", "picture.py"):
        load_module(EXAMPLE / name, registry)
    return registry


@pytest.fixture(scope="session")
def universe():
    """The original trajectory as MDAnalysis reads it."""
    return MDAnalysis.Universe(PSF, DCD)


@pytest.fixture(scope="session")
def alignment():
    """MDAnalysis's own superposition on the first frame, with the aligned universe."""
    mobile, reference = MDAnalysis.Universe(PSF, DCD, in_memory=True), MDAnalysis.Universe(PSF, DCD)
    return align.AlignTraj(mobile, reference, select="name CA", in_memory=True).run()


@pytest.fixture(scope="session")
def reference(universe, alignment):
    """Every result of the workflow, by MDAnalysis; principal components as the object that transforms."""
    aligned = alignment.mobile.universe
    calphas = aligned.select_atoms("name CA")
    components = pca.PCA(aligned, select="name CA", n_components=10).run()
    return {
        "aligned": aligned.trajectory.timeseries(order="fac"),
        "mean": aligned.trajectory.timeseries(order="fac").mean(axis=0, dtype=np.float64),
        "rmsf": rms.RMSF(calphas).run().results.rmsf,
        "gyration": np.array([universe.atoms.radius_of_gyration() for _ in universe.trajectory]),
        "contacts": contact_frequencies(universe.select_atoms("name CA"), 8.0),
        "variance": components.results.variance,
        "cumulated_variance": components.results.cumulated_variance,
        "components": components.results.p_components,
        "projection": components.transform(calphas),
    }


def contact_frequencies(atoms, cutoff):
    """Fraction of the frames in which two atoms are nearer than ``cutoff`` [angstrom], by the distances of MDAnalysis."""
    frames = atoms.universe.trajectory
    return np.mean([distance_array(atoms, atoms) < cutoff for _ in frames], axis=0)


@pytest.fixture(params=CUTS)
def blocks(request, arrays):
    """The trajectory cut into blocks of frames."""
    return np.split(arrays["traj"], CUTS[request.param])


@pytest.fixture
def aligned(ops, arrays, blocks):
    """The superposed blocks."""
    others = {"reference": arrays["traj"][:1], "atoms": arrays["calpha"]}
    return [frozen(ops["superpose"](block, **others)) for block in blocks]


@pytest.fixture
def calphas(ops, arrays, aligned):
    """The C-alpha atoms of the superposed blocks."""
    return [frozen(ops["take"](block, arrays["calpha"])) for block in aligned]


def test_prepared_file_is_read_by_mdanalysis_as_the_original(data, universe):
    prepared = MDAnalysis.Universe(PSF, str(data), format="H5MD")
    assert len(prepared.trajectory) == len(universe.trajectory) == 98
    for ours, theirs in zip(prepared.trajectory, universe.trajectory, strict=True):
        assert np.array_equal(ours.positions, theirs.positions)
        assert ours.time == theirs.time
        assert ours.dimensions is None


def test_prepared_file_says_its_format_and_units(data, universe):
    with h5py.File(data) as file:
        assert list(file["h5md"].attrs["version"]) == [1, 1]
        assert {"author", "creator"} <= set(file["h5md"])
        particles = file["particles/all"]
        assert list(particles["box"].attrs["boundary"]) == ["none"] * 3
        units = [particles[path].attrs["unit"] for path in ("position/value", "position/time", "mass")]
        assert units == ["Angstrom", "ps", "u"]
        assert particles["position/value"].dtype == np.float32
        assert np.array_equal(particles["mass"], universe.atoms.masses)
        assert np.array_equal(particles["position/step"], np.arange(1000, 98001, 1000))
        assert np.array_equal(file["parameters/calpha"], universe.select_atoms("name CA").indices)


def test_prepare_gives_the_same_bytes_again(script, data, tmp_path):
    assert script.prepare(tmp_path / "again.h5md").read_bytes() == data.read_bytes()


def test_prepare_leaves_a_complete_file_alone(script, data):
    before = data.stat()
    script.prepare(data)
    assert data.stat() == before


def test_prepare_replaces_a_broken_file(script, data, tmp_path):
    broken = tmp_path / "broken.h5md"
    broken.write_bytes(data.read_bytes()[:1_000_000])
    script.prepare(broken)
    assert broken.read_bytes() == data.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["broken.h5md"]


def test_every_frame_lies_where_align_traj_lays_it(aligned, reference):
    near(np.concatenate(aligned), reference["aligned"])


def test_distance_to_the_first_frame_is_that_of_align_traj(calphas, alignment):
    moved = np.concatenate(calphas).astype(np.float64)
    distance = np.sqrt(((moved - moved[0]) ** 2).sum(axis=2).mean(axis=1))
    near(distance, alignment.results.rmsd)


def test_rotation_is_never_a_reflection(ops):
    superpose = ops["superpose"]
    points = np.random.default_rng(1).normal(size=(1, 20, 3)).astype(np.float32)
    mirrored = points * np.float32([1, 1, -1])
    moved = superpose(mirrored, points, np.arange(20))
    handedness = [np.linalg.det(frame[0, 1:4].astype(float) - frame[0, 0]) for frame in (mirrored, moved)]
    np.testing.assert_allclose(handedness[1], handedness[0], rtol=1e-4)


def test_mean_structure(ops, aligned, reference):
    near(split(ops["mean"], aligned, axis=0), reference["mean"])


def test_rmsf(ops, calphas, reference):
    close(split(ops["rmsf"], calphas), reference["rmsf"])


def test_averaging_the_rmsf_of_two_halves_is_wrong(ops, arrays, reference):
    others = {"reference": arrays["traj"][:1], "atoms": arrays["calpha"]}
    moved = ops["superpose"](arrays["traj"], **others)[:, arrays["calpha"]]
    halves = [split(ops["rmsf"], [half]) for half in np.split(moved, 2)]
    assert np.abs(np.mean(halves, axis=0) - reference["rmsf"]).max() > 2.9


def test_radius_of_gyration(ops, arrays, blocks, reference):
    close(split(ops["gyration"], blocks, masses=arrays["masses"]), reference["gyration"])


def test_contact_frequencies_are_equal(ops, arrays, blocks, reference):
    frequencies = split(ops["contacts"], blocks, atoms=arrays["calpha"], cutoff=8.0)
    np.testing.assert_array_equal(frequencies, reference["contacts"])


def test_principal_components(ops, calphas, reference):
    modes = split(ops["pca"], calphas, count=10)
    close(modes["variance"], reference["variance"])
    close(modes["cumulated_variance"], reference["cumulated_variance"])
    near(*same_signs(modes["components"], reference["components"]))


def test_principal_components_after_the_alignment_of_mdanalysis_pca(ops, calphas, universe):
    theirs = pca.PCA(universe, select="name CA", align=True, n_components=10).run().results
    modes = split(ops["pca"], calphas, count=10)
    close(modes["variance"], theirs.variance)
    close(modes["cumulated_variance"], theirs.cumulated_variance)


def test_principal_components_of_fewer_coordinates_than_frames(ops, blocks, alignment):
    atoms = alignment.mobile.universe.select_atoms("name CA and resid 122:128")
    theirs = pca.PCA(atoms.universe, select="name CA and resid 122:128").run().results
    frames = atoms.universe.trajectory.timeseries(atoms, order="fac")
    edges = np.cumsum([len(block) for block in blocks])[:-1]
    modes = split(ops["pca"], np.split(frames, edges), count=21)
    near(*same_signs(modes["components"], theirs.p_components))
    near(modes["variance"], theirs.variance)
    # MDAnalysis centres in float32, which the narrowest component (0.03 angstrom) tells; the covariance itself does not.
    covariance = np.cov(frames.reshape(98, 21), rowvar=False, dtype=np.float64)
    np.testing.assert_allclose(modes["variance"], np.linalg.eigvalsh(covariance)[::-1], rtol=1e-9)


def test_projection_on_principal_components(ops, calphas, reference):
    modes = split(ops["pca"], calphas, count=10)
    projection = split(ops["project"], calphas, mean=modes["mean"], components=modes["components"])
    near(*same_signs(projection, reference["projection"]))


def same_signs(ours, theirs):
    """Turn the columns of ``theirs`` so that they point the way of ours: the sign of an eigenvector is free."""
    return ours, theirs * np.sign((ours * theirs).sum(axis=0))


def test_same_blocks_give_the_same_bits(ops, calphas):
    for name, others in (("rmsf", {}), ("pca", {"count": 10})):
        once, again = (split(ops[name], [block.copy() for block in calphas], **others) for _ in range(2))
        assert repr_bytes(once) == repr_bytes(again)


def repr_bytes(value):
    """All bytes of a value."""
    return [array.tobytes() for array in (value.values() if isinstance(value, dict) else [value])]


def test_picture_is_the_same_png_every_time(ops, arrays, reference):
    names = ("gyration", "rmsf", "contacts", "projection", "variance", "cumulated_variance")
    inputs = {"time": arrays["time"], "residues": arrays["residue"], **{name: reference[name] for name in names}}
    once, again = (ops["picture"](**inputs, cutoff=8.0, domains=DOMAINS) for _ in range(2))
    assert once.dtype == np.uint8 and once.ndim == 1
    assert once[:8].tobytes() == b"\x89PNG\r\n\x1a\n"
    assert np.array_equal(once, again)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The whole workflow as a user runs it, on four ranks; the directory of its results."""
    results = tmp_path_factory.mktemp("run")
    mpirun = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    command = [mpirun, "-n", "4", sys.executable, "-m", "mpiflow", str(EXAMPLE / "workflow.yaml")]
    command += ["--results", str(results), "--set", f"data={data}"]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True, cwd=EXAMPLE.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    return results / "results"


def test_four_ranks_give_what_mdanalysis_gives(run, reference):
    with h5py.File(run / "adk.h5") as file:
        found = {name: item[:] for name, item in file.items()}
    for name in ("rmsf", "gyration", "variance", "cumulated_variance"):
        close(found[name], reference[name])
    near(found["mean"], reference["mean"])
    np.testing.assert_array_equal(found["contacts"], reference["contacts"])
    for name in ("components", "projection"):
        near(*same_signs(found[name], reference[name]))


def test_four_ranks_write_units_and_the_picture(run):
    with h5py.File(run / "adk.h5") as file:
        units = {name: file[name].attrs["unit"] for name in ("time", "rmsf", "variance", "contacts")}
    assert units == {"time": "ps", "rmsf": "angstrom", "variance": "angstrom^2", "contacts": "1"}
    assert (run / "adk.png").read_bytes().startswith(b"\x89PNG")
