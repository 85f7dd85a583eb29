"""``colorize-run models`` and completion, through the command line and through real shells."""

import hashlib
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from colorize_run.model.contract import GOLDEN_KEY
from colorize_run.model.session import warm_up

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_list_is_what_models_alone_prints() -> None:
    assert run("models", "list").stderr == run("models").stderr
    assert run("models", "list", "--json").stdout == run("models", "--json").stdout
    assert run("models", "--json", "list").exit_code == 2


def test_show_tells_what_the_file_says() -> None:
    shown = run("models", "show", "photo")
    assert shown.exit_code == 0
    assert shown.stdout == ""
    size = f"{(ROOT / 'artifacts' / 'photo.onnx').stat().st_size / 1e6:.1f} MB"
    digest = hashlib.sha256((ROOT / "artifacts" / "photo.onnx").read_bytes()).hexdigest()
    for words in (
        digest,
        "colorize",
        "efficientnet_lite0",
        "MIT",
        "temperature",
        "short side 192",
        "photo-int8",
        "hints",
        size,
    ):
        assert words in shown.stderr
    found = json.loads(run("models", "show", TINY, "--json").stdout)
    assert found["name"] == "tiny"
    assert found["contract"]["palette"] == 6
    assert found["inputs"] == ["grey", "temperature"]
    assert found["golden"] >= 3
    assert found["variants"] == []
    assert "6 colours" in run("models", "show", TINY).stderr


def test_show_of_files_that_are_broken_or_bare(tmp_path: Path) -> None:
    model = onnx.load(TINY)
    entry = next(entry for entry in model.metadata_props if entry.key == GOLDEN_KEY)
    entry.value = entry.value[:100]
    onnx.save(model, tmp_path / "damaged.onnx")
    done = run("models", "show", tmp_path / "damaged.onnx")
    assert done.exit_code == 65
    assert "golden vectors are damaged" in done.stderr
    model.metadata_props.remove(entry)
    onnx.save(model, tmp_path / "bare.onnx")
    assert "nothing to replay" in run("models", "show", tmp_path / "bare.onnx").stderr
    assert run("models", "show", "nonsense").exit_code == 65


def test_path_is_for_scripts(tmp_path: Path) -> None:
    assert run("models", "path", "unet").stdout == f"{(ROOT / 'artifacts' / 'unet.onnx').resolve()}\n"
    missing = run("models", "path", "nonsense")
    assert (missing.exit_code, missing.stdout) == (65, "")
    strange = tmp_path / os.fsdecode(b"a\xff.onnx")
    shutil.copy(TINY, strange)
    done = subprocess.run([sys.executable, "-m", "colorize_run", "models", "path", strange], capture_output=True, check=True)
    assert done.stdout == os.fsencode(strange) + b"\n"


def test_verify_under_models_is_the_same() -> None:
    ours, theirs = (
        run("models", "verify", TINY, "--json", "--device", "cpu"),
        run("verify", "-m", TINY, "--json", "--device", "cpu"),
    )
    assert ours.exit_code == theirs.exit_code == 0
    assert ours.stdout == theirs.stdout
    assert ours.stderr == theirs.stderr
    assert run("models", "verify", TINY, "--all").exit_code == 2


def test_a_damaged_file_is_no_fault_of_the_device(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(TINY.read_bytes()[:20_000])
    for device in ("auto", "cpu", "cuda"):
        done = run("models", "verify", tmp_path / "bad.onnx", "--device", device)
        assert done.exit_code == 65, done.stderr
        assert "bad.onnx" in done.stderr


# -- completion -----------------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``colorize-run`` is this checkout's, and its completion scripts lie in $SCRIPTS."""
    command = tmp_path / "bin" / "colorize-run"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m colorize_run "$@"\n')
    command.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        done = run("completion", shell)
        assert done.exit_code == 0
        (tmp_path / shell).write_text(done.stdout)
    return {
        **os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}", "SCRIPTS": str(tmp_path), "HOME": str(tmp_path),
        "PYTHONPATH": f"{ROOT / 'runtime'}",
    }  # fmt: skip


CASES = {
    "colorize-run -m uni": [],
    "colorize-run -m unet": ["unet", "unet-downsized", "unet-large"],
    "colorize-run segment -m flow": ["flowers", "flowers-int8"],
    "colorize-run watch run in out -m photo": ["photo", "photo-int8"],
    "colorize-run models show fus": ["fusion"],
    "colorize-run bench -m cnn -m unet-l": ["unet-large"],
    "colorize-run doc": ["doctor"],
    "colorize-run segment --as cut": ["cutout"],
}


def in_bash(words: list[str]) -> str:
    quoted = " ".join(f"'{word}'" for word in words)
    return (
        f'. "$SCRIPTS/bash"; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _colorize_run_completion colorize-run;'
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )


def in_fish(words: list[str]) -> str:
    return f'source "$SCRIPTS/fish"; complete --do-complete "{" ".join(words)}"'


@pytest.mark.parametrize("line", CASES)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_completion_in_a_real_shell(script: dict[str, str], shell: str, line: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"needs {shell}")
    code = {"bash": in_bash, "fish": in_fish}[shell](line.split(" "))
    done = subprocess.run([shell, "-c", code], env=script, capture_output=True, text=True, check=False)
    found = sorted({words.split("\t")[0].strip() for words in done.stdout.splitlines()} - {""})
    assert found == CASES[line], done.stderr


def test_completion_in_zsh_as_typed(script: dict[str, str]) -> None:
    """zsh completes in its line editor alone: so a terminal types, presses Tab, and prints the line instead of running it."""
    if not shutil.which("zsh"):
        pytest.skip("needs zsh")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**script, "TERM": "dumb"})
    try:
        os.write(terminal, b'PS1=; autoload -U compinit; compinit -D; . "$SCRIPTS/zsh"; echo READ""Y\n')
        read_until(terminal, b"READY")
        os.write(terminal, b"colorize-run models show fus\t")
        read_until(terminal, b"fusion")
        os.write(terminal, b"\x01echo got \n")
        read_until(terminal, b"got colorize-run models show fusion")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def read_until(terminal: int, wanted: bytes) -> None:
    found = b""
    while wanted not in found:
        assert select.select([terminal], [], [], 20)[0], found
        found += os.read(terminal, 4096)


def test_completion_knows_three_shells() -> None:
    scripts = {run("completion", shell).stdout for shell in ("bash", "zsh", "fish")}
    assert len(scripts) == 3
    assert all("_COLORIZE_RUN_COMPLETE" in script for script in scripts)
    refused = run("completion", "tcsh")
    assert refused.exit_code == 2
    assert all(shell in refused.output for shell in ("bash", "zsh", "fish"))


@pytest.mark.parametrize("path", [TINY, *sorted((ROOT / "artifacts").glob("*.onnx"))], ids=lambda path: path.stem)
def test_every_model_can_be_run_once_on_zeros(path: Path) -> None:
    """What a session on CUDA must do before any picture is touched, as cuDNN is loaded by the first convolution."""
    warm_up(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]))
