"""The estates that come with Backstay: examples/ of the repository, which a wheel carries in this folder."""

from __future__ import annotations

from pathlib import Path

from backstay.lab.model import LabError

DEFAULT = "serverdensity"
_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "examples", _HERE.parents[2] / "examples")  # of a wheel, of the repository


def example_file(name: str = DEFAULT) -> Path:
    """The file of an example estate. Raises LabError."""
    for folder in _FOLDERS:
        if (folder / f"{name}.yaml").exists():
            return folder / f"{name}.yaml"
    raise LabError(f"No example estate {name} in this installation. Name an estate file: backstay lab up FILE.")
