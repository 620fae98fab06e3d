"""What tests of several modules need."""

import subprocess

import pytest
from looking import command, ran  # noqa: F401 (fixtures)


@pytest.fixture
def mounted(tmp_path):
    """Mount a small file system; needs root."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, timeout=60)
        return folder

    yield mount
    subprocess.run(["umount", folder], check=True, timeout=60)
