"""The kill points of ``torture/sites/crash`` are functions that exist; a rename would make every kill miss."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import FunctionType
from typing import Any

import colorize_run.watch
import pytest

SITE = Path(__file__).resolve().parents[2] / "torture" / "sites" / "crash" / "sitecustomize.py"


def constant(name: str) -> Any:
    """The value of a constant of the site file, which must not be imported: Python would take it for its own."""
    for line in ast.parse(SITE.read_text()).body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id == name:
            return ast.literal_eval(line.value)
    raise AssertionError(f"{SITE} has no constant {name}")


def functions() -> set[str]:
    """Qualified names of all functions that are defined in the modules where the site file looks."""
    modules = [f"colorize_run.watch.{module.name}" for module in pkgutil.iter_modules(colorize_run.watch.__path__)]
    modules.append(constant("_FILES").removesuffix(".py").replace("/", "."))
    names = set()
    for name in modules:
        module = importlib.import_module(name)
        classes = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == name]
        for holder in [module, *classes]:
            names |= {f.__qualname__ for f in vars(holder).values() if isinstance(f, FunctionType) and f.__module__ == name}
    return names


@pytest.mark.parametrize(("step", "place"), constant("_STEPS").items())
def test_every_kill_point_is_a_function(step: str, place: tuple[str, str]) -> None:
    event, name = place
    assert ("publish" if event == "c_return" else name) in functions(), f"step {step} would never be taken"
