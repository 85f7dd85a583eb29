"""Every command and every Python snippet of the documentation: run where it can be, otherwise checked flag by flag."""

import functools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from colorize_run import Colorizer
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
RUN = ("README.md", "docs/python.md")  # what these show is executed
CHECKED = (
    *RUN,
    "docs/operator.md",
    "docs/folders.md",
    "docs/report.md",
    "docs/watch.md",
    "docs/engineer.md",
    "CONTRIBUTING.md",
)
LANGUAGES = {"sh", "python", "text"}
DEFAULT_COMMANDS = {"colorize-run": "colorize", "colorize-run watch": "run", "colorize-run models": "list"}
SLOW = {"bench", "tune"}  # measure for minutes
NEEDS_A_DEVICE = "cuda"
SHELL_WORDS = {"source", ".", "cp", "mv", "eval", "jq", "python3"}  # of the system, not of this project


def blocks(page: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: language and content."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[str]:
    """Every line of every shell block, without its comment; ``a && b`` are two, and so is what ``$(…)`` holds."""
    found = []
    for language, content in blocks(page):
        for line in content.splitlines() if language == "sh" else []:
            for part in re.sub(r"\s#.*$", "", line).split("&&"):
                found += [*re.findall(r"\$\((.*?)\)", part), part.strip()]
    return [command for command in found if command and not command.startswith("#")]


def inline_commands(page: str) -> list[str]:
    """Commands of this project in the running text, between backticks."""
    return re.findall(
        r"`((?:colorize-run|python -m) [^`\n]+)`", re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    )


@functools.cache
def help_text(program: str) -> str:
    """What ``--help`` prints."""
    name, *rest = program.split()
    start = ["-m", "colorize_run", *rest] if name == "colorize-run" else rest
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime"), "COLUMNS": "200", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, *start, "--help"], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    if name == "python" and "ModuleNotFoundError" in done.stderr:
        pytest.skip(f"{program} needs the training environment")
    assert done.returncode == 0, f"{program} --help: {done.stderr}"
    return done.stdout


def subcommands(program: str) -> set[str]:
    """The names that ``--help`` lists under Commands."""
    listed = help_text(program).partition("\nCommands:\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^  (\S+)", listed, re.MULTILINE))


def resolve(program: str, words: list[str]) -> tuple[str, list[str]]:
    """The command that the words reach, as ``colorize-run watch run``, and the words that are left."""
    while names := subcommands(program):
        if words and words[0] in names:
            program, words = f"{program} {words[0]}", words[1:]
        elif program in DEFAULT_COMMANDS and not (words and words[0] in ("--help", "--version")):
            program = f"{program} {DEFAULT_COMMANDS[program]}"
        else:
            break
    return program, words


def unknown(command: str) -> list[str]:
    """What is wrong with a command: flags that ``--help`` does not list, targets, extras and programs that do not exist."""
    words = shlex.split(command)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    program = words[0] if words[0] == "." else Path(words[0]).name
    if program == "colorize-run":
        return unknown_flags(*resolve("colorize-run", words[1:]))
    if program == "python" and words[1] == "-m":
        return unknown_flags(*resolve(f"python -m {words[2]}", words[3:]))
    if program == "make":
        makefile = (ROOT / "Makefile").read_text()
        return [word for word in words[1:] if not in_makefile(word, makefile)]
    if program == "pip":
        return [word for word in words[2:] if not (word in ("install", "--quiet") or extras_exist(word))]
    return [] if program in SHELL_WORDS else [program]


def unknown_flags(program: str, words: list[str]) -> list[str]:
    """The flags among the words that the program's ``--help`` does not list."""
    flags = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    listed = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", help_text(program)))
    return [f"{program} {flag}" for flag in flags if flag not in listed]


def in_makefile(word: str, makefile: str) -> bool:
    """Whether a target, or a variable that is set, stands in the Makefile; ``model-NAME`` stands for a pattern."""
    if "=" in word:
        return bool(re.search(rf"^{word.partition('=')[0]} \?=", makefile, re.MULTILINE))
    target = "model-%" if word.startswith("model-") else word
    return bool(re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE))


def extras_exist(word: str) -> bool:
    """Whether ``.[a,b]`` names extras of pyproject.toml."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.fullmatch(r"\.\[([\w,]+)\]", word)
    return named is not None and set(named[1].split(",")) <= set(extras)


def can_run(command: str) -> bool:
    """Whether a command of the README works here within seconds, without a network, PyTorch or a GPU."""
    words = shlex.split(command)
    return words[0] == "colorize-run" and NEEDS_A_DEVICE not in words and not SLOW & set(words)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documentation names, and ``colorize-run`` and ``python`` on the path."""
    with Image.open(ROOT / "docs/samples/rocket.jpg") as rocket, Image.open(ROOT / "docs/samples/coffee.jpg") as coffee:
        grey, colour = rocket.convert("L"), coffee.resize((96, 64))
    grey.save(tmp_path / "old.jpg")
    small = grey.resize((96, 64))
    grey.resize((480, 320)).save(tmp_path / "photo.jpg")  # hints lie within it
    for name in ("photo.tif", "in.png"):
        small.save(tmp_path / name)
    colour.save(tmp_path / "rose.jpg")
    small.save(tmp_path / "area.png")
    for name in ("scans", "in", "bin"):
        (tmp_path / name).mkdir()
    small.save(tmp_path / "scans/one.jpg")
    small.save(tmp_path / "in/two.jpg")
    data, _ = Colorizer(ROOT / "tests/data/tiny.onnx", "cpu", 1).colorize_file(tmp_path / "old.jpg")
    (tmp_path / "new.jpg").write_bytes(data)
    shim = tmp_path / "bin/colorize-run"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m colorize_run "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "runtime"))
    return tmp_path


@pytest.mark.parametrize("page", CHECKED)
def test_every_block_says_what_it_is(page: str) -> None:
    assert blocks(page)
    assert {language for language, _ in blocks(page)} <= LANGUAGES


@pytest.mark.parametrize(
    ("page", "command"), [(page, command) for page in CHECKED for command in (*commands(page), *inline_commands(page))]
)
def test_every_command_and_flag_exists(page: str, command: str) -> None:
    assert unknown(command) == []


@pytest.mark.parametrize("command", [command for page in RUN for command in commands(page) if can_run(command)])
def test_commands_of_the_readme_run(folder: Path, command: str) -> None:
    command += " --once" if " watch " in command else ""  # it would go on for months
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_first_command_prints_what_the_readme_shows(folder: Path) -> None:
    (shown,) = [content for language, content in blocks("README.md") if language == "text"]
    done = subprocess.run(
        ["colorize-run", "--device", "cpu", "old.jpg"], cwd=folder, capture_output=True, text=True, check=False
    )
    number = re.compile(r"\d+(\.\d+)*")
    assert number.sub("N", done.stderr.splitlines()[-1]) == number.sub("N", shown.splitlines()[-1])
    assert (folder / "old.colorized.jpg").is_file()


@pytest.mark.parametrize("page", RUN)
def test_python_snippets_run_when_pasted(folder: Path, page: str) -> None:
    snippets = [content for language, content in blocks(page) if language == "python"]
    assert snippets
    for snippet in snippets:
        done = subprocess.run([sys.executable, "-"], input=snippet, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "colorize-run photo.jpg --no-such-flag",
        "colorize-run watch in out --saturate 2",
        "python -m training fit photo --epoch 3",
        "make no-such-target",
        "make models DATUM=x",
        "pip install '.[tpu]'",
        "no-such-program",
    ],
)
def test_what_does_not_exist_is_noticed(command: str) -> None:
    assert unknown(command)


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    for page in ("README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"
