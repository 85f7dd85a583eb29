"""The container's recipe: what it copies is enough to build the wheel."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINES = (ROOT / "deploy" / "Containerfile").read_text().replace("\\\n", " ").splitlines()


def copy(sources: list[str], target: str, image: Path) -> None:
    """COPY as the Containerfile reference defines it: a folder's content, or files into a folder ending with a slash."""
    place = image / target.lstrip("/")
    for source in sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
        elif target.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)


def test_the_container_copies_all_that_its_wheel_needs(tmp_path: Path) -> None:
    for line in LINES:
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            copy(sources, target, tmp_path / "image")
    (installed,) = (found[1] for line in LINES if (found := re.search(r"pip install .*?'(/\S+?)\[\S+\]'", line)))
    source = tmp_path / "image" / installed.lstrip("/")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", tmp_path / "wheels", source], check=True, timeout=200)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert len(included) == 4
    with zipfile.ZipFile(wheel) as archive:
        for model, name in included.items():
            assert archive.read(name) == (ROOT / model).read_bytes()
