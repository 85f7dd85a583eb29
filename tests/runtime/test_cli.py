"""The command line, as a person or a script meets it."""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from colorize_run import colour
from colorize_run.cli import main
from colorize_run.model.contract import CONTRACT_KEY, GOLDEN_KEY
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"
SAMPLE = ROOT / "docs" / "samples" / "coffee.jpg"
SIZE = (600, 400)

Run = Callable[..., Result]

# Runs the command line, then prints its peak memory in MB. VmHWM, unlike ru_maxrss, leaves out what the test's own
# process held when it forked.
PEAK_MEMORY = (
    "import sys; from colorize_run.cli import main\n"
    "try: main(sys.argv[1:])\n"
    "finally: print(int([line for line in open('/proc/self/status') if 'VmHWM' in line][0].split()[1]) // 1024)"
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``colorize-run`` with the tiny model in an empty folder that holds ``photo.jpg``."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, tmp_path / "photo.jpg")

    def invoke(*arguments: str | Path, stdin: bytes | None = None, model: Path | None = TINY) -> Result:
        options = ["-m", str(model)] if model else []
        if not {"verify", "models", "--help", "--keep-colour"} & set(arguments):
            options.append("--force")  # the sample has colours
        return CliRunner().invoke(main, [*map(str, arguments), *options], input=stdin)

    return invoke


def one_line(result: Result, *words: str) -> str:
    """The single error line of a run, which must name all ``words`` and be no traceback."""
    lines = [line for line in result.stderr.splitlines() if line.lower().startswith("error")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]
    assert "internal error" not in lines[0]
    return lines[0]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(path: Path, width: int, height: int) -> None:
    """A whole and valid 1-bit PNG, all black, a few hundred kB at most."""
    packer, row, packed = zlib.compressobj(9), b"\0" * (1 + -(-width // 8)), []
    for _ in range(height):
        packed.append(packer.compress(row))
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"".join(packed)) + png_chunk(b"IEND", b"")
    )


# -- where pictures go ----------------------------------------------------------------------------------------


def test_output_lies_beside_the_input(run: Run, tmp_path: Path) -> None:
    result = run("photo.jpg")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "photo.colorized.jpg" in result.stderr
    with Image.open(tmp_path / "photo.colorized.jpg") as image:
        assert image.format == "JPEG"
        assert image.size == SIZE
    assert (tmp_path / "photo.jpg").read_bytes() == SAMPLE.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photo.colorized.jpg", "photo.jpg"]


def test_pixels_whose_colour_gave_way_are_reported(run: Run) -> None:
    white = np.full((40, 40), 255, np.uint8)  # has no room for any colour
    Image.fromarray(white).save("white.png")
    assert "colour reduced to fit sRGB in 100.0% of the pixels" in run("white.png").stderr


def test_default_command_may_be_named(run: Run, tmp_path: Path) -> None:
    assert run("colorize", "photo.jpg").exit_code == 0
    assert (tmp_path / "photo.colorized.jpg").exists()


def test_output_file_decides_the_format(run: Run, tmp_path: Path) -> None:
    for suffix, kind in ((".png", "PNG"), (".webp", "WEBP"), (".tif", "TIFF"), (".bmp", "BMP"), (".jpeg", "JPEG")):
        assert run("photo.jpg", "-o", f"new/x{suffix}").exit_code == 0
        with Image.open(tmp_path / f"new/x{suffix}") as image:
            assert image.format == kind


def test_output_folder(run: Run, tmp_path: Path) -> None:
    assert run("photo.jpg", "-o", "made/by/it/").exit_code == 0
    assert (tmp_path / "made/by/it/photo.jpg").is_file()
    shutil.copy("photo.jpg", "second.jpg")
    assert run("photo.jpg", "second.jpg", "-o", "both").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "both").iterdir()) == ["photo.jpg", "second.jpg"]


def test_stdin_to_stdout(run: Run) -> None:
    result = run("-", "-o", "-", stdin=SAMPLE.read_bytes())
    assert result.exit_code == 0
    with Image.open(io.BytesIO(result.stdout_bytes)) as image:
        assert image.size == SIZE
    assert run("-", stdin=SAMPLE.read_bytes()).stdout_bytes == result.stdout_bytes
    assert run("photo.jpg", "-o", "-").stdout_bytes == result.stdout_bytes


def test_existing_outputs_are_kept_unless_told_otherwise(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "photo.colorized.jpg"
    target.write_bytes(b"precious")
    result = run("photo.jpg")
    assert result.exit_code == 73
    one_line(result, "photo.colorized.jpg", "--overwrite")
    assert target.read_bytes() == b"precious"
    assert run("photo.jpg", "--overwrite").exit_code == 0
    assert target.read_bytes()[:2] == b"\xff\xd8"


def test_the_input_itself_is_never_replaced(run: Run, tmp_path: Path) -> None:
    os.link("photo.jpg", "same.jpg")
    for target in ("photo.jpg", "./photo.jpg", "same.jpg", "."):
        result = run("photo.jpg", "-o", target, "--overwrite")
        assert result.exit_code == 73
        one_line(result, "input")
    assert (tmp_path / "photo.jpg").read_bytes() == SAMPLE.read_bytes()


def test_no_input_of_the_run_is_ever_replaced(run: Run, tmp_path: Path) -> None:
    shutil.copy("photo.jpg", "photo.colorized.jpg")
    result = run("photo.jpg", "photo.colorized.jpg", "--overwrite")
    assert result.exit_code == 1
    one_line(result, "photo.colorized.jpg", "input of this run")
    assert (tmp_path / "photo.colorized.jpg").read_bytes() == SAMPLE.read_bytes()
    assert (tmp_path / "photo.colorized.colorized.jpg").is_file()


def test_a_file_called_minus(run: Run, tmp_path: Path) -> None:
    Path("-").write_bytes(SAMPLE.read_bytes())
    assert run("./-", "-o", "x.png").exit_code == 0
    assert (tmp_path / "x.png").is_file()


def test_a_name_that_is_empty(run: Run, tmp_path: Path) -> None:
    result = run("photo.jpg", "")
    assert result.exit_code == 1
    one_line(result, "is a folder")
    assert (tmp_path / "photo.colorized.jpg").is_file()


def test_names_that_are_too_long(run: Run, tmp_path: Path) -> None:
    long_name = "x" * 250 + ".jpg"
    shutil.copy("photo.jpg", long_name)
    result = run(long_name)
    assert result.exit_code == 73
    one_line(result, "too long")
    assert run("photo.jpg", "-o", "y" * 300 + ".png").exit_code == 73
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photo.jpg", long_name]


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        ("photo.jpg -o - >&-", 73),
        ("- <&-", 1),
        ("verify --json >/dev/full", 73),
        ("--help >/dev/full", 73),
        ("photo.jpg 2>&-", 0),
    ],
)
def test_closed_and_full_streams(run: Run, redirection: str, code: int) -> None:
    model = "" if "--help" in redirection else f"-m {TINY}"
    command, _, stream = redirection.rpartition(" ")
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m colorize_run {command} {model} {stream}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_two_pictures_never_become_one_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy("photo.jpg", "a/photo.jpg")
    result = run("photo.jpg", "a/photo.jpg", "-o", "out/")
    assert result.exit_code == 2
    assert "both be written" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["photo.jpg", "-o", "x.pcx"],
        ["photo.jpg", "other.jpg", "-o", "x.png"],
        ["-", "-o", "folder/"],
        ["photo.jpg", "--nonsense"],
    ],
)
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_nowhere_to_write(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run("photo.jpg", "-o", "file/out.jpg")
    assert result.exit_code == 73
    one_line(result, "file")
    result = run("photo.jpg", "-o", "/proc/nowhere/out.jpg")
    assert result.exit_code == 73


def test_full_disk_leaves_nothing(run: Run, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "colorize_run", "photo.jpg", "-o", "-", "-m", str(TINY), "--force"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert result.returncode == 73
    assert "No space left" in result.stderr
    assert "Traceback" not in result.stderr


def test_jpeg_cannot_hold_alpha(run: Run, tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (10, 200, 30, 40)).save("clear.png")
    result = run("clear.png", "-o", "clear.jpg")
    assert result.exit_code == 1
    one_line(result, "transparency", "PNG")
    assert not (tmp_path / "clear.jpg").exists()


# -- hostile inputs -------------------------------------------------------------------------------------------


def broken_png(path: Path) -> None:
    with Image.open(SAMPLE) as image:
        image.save(path, "PNG")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


JPEG = SAMPLE.read_bytes()
MAKERS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(JPEG[: len(JPEG) // 2]),
    "almost whole": lambda path: path.write_bytes(JPEG[:-200]),
    "empty": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(b"\xff"),
    "text": lambda path: path.write_text("I am a text file, whatever my name says.\n" * 50),
    "html": lambda path: path.write_text("<!doctype html><title>404</title>"),
    "huge png": lambda path: huge_png(path, 50_000, 50_000),
    "symlink loop": lambda path: path.symlink_to(path.name),
    "pipe": lambda path: os.mkfifo(path),
    "missing": lambda path: None,
    "broken png": broken_png,
    "float tiff": lambda path: Image.fromarray(np.zeros((9, 9), np.float32)).save(path, "TIFF"),
    "postscript": lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"),
}


def make_hostile(folder: Path, kind: str) -> Path:
    path = folder / f"{kind.replace(' ', '_')}.jpg"
    MAKERS[kind](path)
    return path


HOSTILE = {
    "truncated": "damaged",
    "almost whole": "damaged",
    "empty": "empty",
    "one byte": "not a picture",
    "text": "not a picture",
    "html": "not a picture",
    "huge png": "2500 megapixels",
    "symlink loop": "symbolic links",
    "pipe": "not a regular file",
    "missing": "does not exist",
    "broken png": "damaged",
    "float tiff": "32-bit floating-point",
    "postscript": "not a picture",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_input_is_one_line_and_the_others_are_done(run: Run, tmp_path: Path, kind: str) -> None:
    path = make_hostile(tmp_path, kind)
    shutil.copy("photo.jpg", "other.jpg")
    result = run("photo.jpg", path, "other.jpg")
    assert result.exit_code == 1
    one_line(result, path.name, HOSTILE[kind])
    assert (tmp_path / "photo.colorized.jpg").is_file()
    assert (tmp_path / "other.colorized.jpg").is_file()
    assert not list(tmp_path.glob(f"{path.stem}.colorized*"))
    assert not list(tmp_path.glob(".*partial"))


def test_all_hostile_inputs_in_bounded_memory(tmp_path: Path) -> None:
    paths = [make_hostile(tmp_path, kind) for kind in HOSTILE]
    done = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, *map(str, paths), "-m", str(TINY)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == len(HOSTILE)
    assert int(done.stdout) < 250  # MB; a decoded 50,000 x 50,000 would take 2,500


def test_single_missing_input_has_its_own_exit_code(run: Run) -> None:
    result = run("nowhere.jpg")
    assert result.exit_code == 66
    one_line(result, "nowhere.jpg", "does not exist")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads everything, and setpriv is missing")
def test_unreadable_input(run: Run, tmp_path: Path) -> None:
    shutil.copy("photo.jpg", "secret.jpg")
    Path("secret.jpg").chmod(0)
    if os.geteuid() != 0:
        result = run("secret.jpg")
        assert result.exit_code == 1
        one_line(result, "secret.jpg", "Permission denied")
        return
    # root passes every permission check: drop the capability that lets it
    done = subprocess.run(
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search",
         sys.executable, "-m", "colorize_run", "secret.jpg", "-m", str(TINY)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "secret.jpg cannot be opened: Permission denied" in done.stderr


def test_names_cannot_write_to_the_terminal(run: Run) -> None:
    result = run("evil\x1b[31m\nname.jpg")
    assert "\x1b" not in result.stderr
    one_line(result, "evil\\x1b[31m\\nname.jpg")


def test_pixel_limit_can_be_set(run: Run) -> None:
    result = run("photo.jpg", "--max-pixels", "1000")
    assert result.exit_code == 1
    one_line(result, "--max-pixels")


@pytest.mark.parametrize("data", [b"", b"not a picture"])
def test_bad_stdin(run: Run, data: bytes) -> None:
    result = run("-", "-o", "-", stdin=data)
    assert result.exit_code == 1
    assert result.stdout_bytes == b""
    one_line(result)


# -- control --------------------------------------------------------------------------------------------------


def chroma_of(path: str) -> np.ndarray:
    """Distance from grey of every pixel, in a*, b*."""
    with Image.open(path) as image:
        lab = colour.srgb_to_lab(np.asarray(image.convert("RGB"), np.float32) / 255)
    return np.hypot(lab[..., 1], lab[..., 2])


def lightness(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return colour.lightness(np.asarray(image.convert("RGB")))


def test_pictures_that_have_colours_are_left_as_they_are(run: Run, tmp_path: Path) -> None:
    for arguments in ([], ["-o", "-"]):
        done = CliRunner().invoke(main, ["photo.jpg", "-m", str(TINY), *arguments])
        assert done.exit_code == 0
        assert "already has colours" in done.stderr
        assert "--force" in done.stderr
    assert done.stdout_bytes == SAMPLE.read_bytes()
    assert (tmp_path / "photo.colorized.jpg").read_bytes() == SAMPLE.read_bytes()
    assert run("photo.jpg", "--keep-colour", "--overwrite").exit_code == 0
    assert (tmp_path / "photo.colorized.jpg").read_bytes() == SAMPLE.read_bytes()
    assert run("photo.jpg", "--force", "--overwrite").exit_code == 0
    assert (tmp_path / "photo.colorized.jpg").read_bytes() != SAMPLE.read_bytes()


def test_what_is_left_may_change_its_format_and_lose_its_metadata(run: Run) -> None:
    with Image.open("photo.jpg") as image:
        before = np.asarray(image.convert("RGB"))
        image.save("said.jpg", comment=b"attic", quality=100)
    assert run("photo.jpg", "--keep-colour", "-o", "same.png").exit_code == 0
    assert (np.asarray(Image.open("same.png")) == before).all()
    assert b"AI-colourised" not in Path("same.png").read_bytes()
    assert run("said.jpg", "--keep-colour", "--strip-metadata", "-o", "stripped.jpg").exit_code == 0
    assert b"attic" not in Path("stripped.jpg").read_bytes()


@pytest.mark.parametrize("tone", [(1, 1, 1), (1.05, 0.9, 0.7), (0.85, 0.95, 1.05)])
def test_grey_and_toned_pictures_are_coloured(run: Run, tone: tuple) -> None:
    grey = np.asarray(Image.open(SAMPLE).convert("L"), np.float32)[..., None]
    noise = np.random.default_rng(0).normal(0, 4, (*grey.shape[:2], 3))
    Image.fromarray((grey * tone + noise).clip(0, 255).astype(np.uint8)).save("print.jpg", quality=70)
    done = run("print.jpg", "--keep-colour")
    assert done.exit_code == 0
    assert "has colours" not in done.stderr
    assert b"AI-colourised" in Path("print.colorized.jpg").read_bytes()


def test_one_small_coloured_thing_is_a_colour(run: Run) -> None:
    image = Image.open(SAMPLE).convert("L").convert("RGB")
    image.paste((200, 20, 30), (50, 50, 110, 110))
    image.save("red.png")
    assert "already has colours" in run("red.png", "--keep-colour").stderr


def test_saturation_scales_chroma(run: Run) -> None:
    Image.open(SAMPLE).convert("L").save("grey.png")
    for value in ("0", "0.5", "1", "2"):
        assert run("grey.png", "--saturation", value, "-o", f"s{value}.png").exit_code == 0
    chroma = [float(chroma_of(f"s{value}.png").mean()) for value in ("0", "0.5", "1", "2")]
    assert chroma[0] < 0.5
    assert chroma[0] < 0.7 * chroma[1] < 0.7 * 0.7 * chroma[2]
    assert chroma[2] < chroma[3]
    assert np.abs(lightness("s2.png") - lightness("grey.png")).max() < 0.3


@pytest.mark.parametrize("source", ["colours.png", "grey.png"])
def test_blend_mixes_with_the_pictures_own_colours(run: Run, source: str) -> None:
    Image.open(SAMPLE).convert("RGB" if source == "colours.png" else "L").save(source)
    for share in ("0", "0.5", "1"):
        assert run(source, "--blend", share, "-o", f"b{share}.png").exit_code == 0
        assert np.abs(lightness(f"b{share}.png") - lightness(source)).max() < 0.3
    own, half, new = (np.asarray(Image.open(f"b{share}.png"), np.float32) for share in ("0", "0.5", "1"))
    assert (own == np.asarray(Image.open(source).convert("RGB"))).all()
    assert run(source, "-o", "plain.png").exit_code == 0
    assert (new == np.asarray(Image.open("plain.png"))).all()
    assert ((half >= np.minimum(own, new) - 1) & (half <= np.maximum(own, new) + 1)).all()


@pytest.mark.parametrize("scale", [1, 2])
def test_mask_colours_only_there(run: Run, scale: int) -> None:
    width, height = SIZE
    mask = np.zeros((height * scale, width * scale), np.uint8)
    mask[:, : width * scale // 2] = 255
    Image.fromarray(mask).save("area.png")
    Image.open(SAMPLE).save("photo.png")
    assert run("photo.png", "--mask", "area.png", "-o", "half.png").exit_code == 0
    assert run("photo.png", "-o", "whole.png").exit_code == 0
    before, half, whole = (np.asarray(Image.open(name)) for name in ("photo.png", "half.png", "whole.png"))
    middle = width // 2
    assert (half[:, middle + 2 :] == before[:, middle + 2 :]).all()
    assert (np.abs(half[:, : middle - 2].astype(int) - whole[:, : middle - 2]) <= 1).all()
    assert np.abs(lightness("half.png") - lightness("photo.png")).max() < 0.3


def test_masks_that_do_not_fit(run: Run, tmp_path: Path) -> None:
    Image.new("L", (100, 100)).save("square.png")
    result = run("photo.jpg", "--mask", "square.png")
    assert result.exit_code == 1
    one_line(result, "square.png", "100 x 100", "same shape")
    assert run("photo.jpg", "--mask", "nowhere.png").exit_code == 66
    Path("text.png").write_text("no mask")
    one_line(run("photo.jpg", "--mask", "text.png"), "text.png", "not a picture")
    one_line(run("photo.jpg", "--mask", "square.png", "-o", "square.png", "--overwrite"), "input")
    assert not (tmp_path / "photo.colorized.jpg").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--saturation", "nan"],
        ["--saturation", "5"],
        ["--blend", "1.1"],
        ["--raw", "--blend", "0.5"],
        ["--raw", "--mask", "m.png"],
    ],
)
def test_control_that_means_nothing_is_wrong_usage(run: Run, arguments: list[str]) -> None:
    assert run("photo.jpg", *arguments).exit_code == 2


def test_metadata_can_be_stripped(run: Run) -> None:
    with Image.open("photo.jpg") as image:
        image.save("said.jpg", comment=b"attic")
    assert run("said.jpg", "-o", "kept.jpg").exit_code == 0
    assert run("said.jpg", "-o", "stripped.jpg", "--strip-metadata").exit_code == 0
    for word in (b"attic", b"AI-colourised"):
        assert word in Path("kept.jpg").read_bytes()
        assert word not in Path("stripped.jpg").read_bytes()


# -- models and devices ---------------------------------------------------------------------------------------


def tampered(tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(TINY)
    change(model)
    path = tmp_path / "tampered.onnx"
    onnx.save(model, path)
    return path


def without(key: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        kept = [entry for entry in model.metadata_props if entry.key != key]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)

    return change


def with_contract(**changes: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        entry = next(entry for entry in model.metadata_props if entry.key == CONTRACT_KEY)
        entry.value = json.dumps(json.loads(entry.value) | changes)

    return change


def with_other_weight(model: onnx.ModelProto) -> None:
    last_convolution = [node for node in model.graph.node if node.op_type == "Conv"][-1]
    tensor = next(t for t in model.graph.initializer if t.name == last_convolution.input[2])
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[0] += 0.01
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def test_verify_is_green_and_tells_json(run: Run) -> None:
    result = run("verify", "--json", "--device", "cpu")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["ok"] is True
    assert found["error"] <= found["tolerance"]
    assert found["cases"] >= 3


def test_verify_notices_one_changed_weight(run: Run, tmp_path: Path) -> None:
    result = run("verify", "--json", model=tampered(tmp_path, with_other_weight))
    assert result.exit_code == 65
    assert json.loads(result.stdout)["ok"] is False


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (without(CONTRACT_KEY), "has no contract"),
        (with_contract(version=2), "update colorize-run"),
        (with_contract(task="segment"), "segment"),
        (with_contract(palette="red"), "palette"),
        (with_contract(tolerance={"cuda": 1.0}), "tolerance"),
        (with_contract(flips={"cpu": None, "cuda": 1.0}), "flips"),
        (with_contract(grey_weights=[float("nan")] * 3), "grey_weights"),
        (with_contract(working_size={"short_side": 32, "multiple": 4, "minimum": 8, "maximum": 10**9}), "working size"),
    ],
)
def test_models_that_break_the_contract_are_refused(run: Run, tmp_path: Path, change: Callable, word: str) -> None:
    result = run("photo.jpg", model=tampered(tmp_path, change))
    assert result.exit_code == 65
    one_line(result, "tampered.onnx", word)
    assert not (tmp_path / "photo.colorized.jpg").exists()


def with_nan_weights(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "network.finalconv.bias")
    values = np.full_like(onnx.numpy_helper.to_array(tensor), np.nan)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def with_static_shape(model: onnx.ModelProto) -> None:
    for dim, value in zip(model.graph.input[0].type.tensor_type.shape.dim, (1, 1, 32, 32), strict=True):
        dim.dim_value = value


@pytest.mark.parametrize("change", [with_nan_weights, with_static_shape])
def test_models_that_cannot_colour_write_nothing(run: Run, tmp_path: Path, change: Callable) -> None:
    result = run("photo.jpg", model=tampered(tmp_path, change))
    assert result.exit_code == 65
    one_line(result, "tampered.onnx")
    assert not (tmp_path / "photo.colorized.jpg").exists()


def test_models_lists_every_model_with_its_score(run: Run) -> None:
    done = run("models", model=None)
    assert done.exit_code == 0
    assert done.stdout == ""
    names = sorted(path.stem for path in (ROOT / "artifacts").glob("*.onnx"))
    rows = {line.split()[0]: line for line in done.stderr.splitlines()}
    assert sorted(rows) == names
    assert "colorize" in rows["unet"]
    assert " MB " in rows["unet"]
    assert "accuracy 58." in rows["unet"]
    assert "CIFAR-10 (horse)" in rows["unet"]
    listed = json.loads(run("models", "--json", model=None).stdout)
    assert [entry["name"] for entry in listed] == names
    assert all(entry["bytes"] == Path(entry["path"]).stat().st_size for entry in listed)
    assert listed[0]["contract"]["parity"]["onnxruntime"] > 0


def test_verify_all_is_green(run: Run) -> None:
    names = sorted(path.stem for path in (ROOT / "artifacts").glob("*.onnx"))
    done = run("verify", "--all", "--json", "--device", "cpu", model=None)
    assert done.exit_code == 0, done.stderr
    assert [found["name"] for found in json.loads(done.stdout)] == names
    assert done.stderr.count(": ok, ") == len(names)
    assert run("verify", "--all").exit_code == 2  # with -m


def test_a_broken_model_is_named_and_the_others_are_still_shown(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(TINY, folder / "good.onnx")
    (folder / "bad.onnx").write_bytes(TINY.read_bytes()[:2000])
    monkeypatch.setattr("colorize_run.model.library._FOLDERS", (folder,))
    (folder / "gone.onnx").symlink_to("/nowhere/model.onnx")
    found = json.loads(run("verify", "--all", "--json", "--device", "cpu", model=None).stdout)
    assert [(entry["name"], entry["ok"]) for entry in found] == [("bad", False), ("gone", False), ("tiny", True)]
    (folder / "gone.onnx").unlink()
    for command in (["models"], ["verify", "--all", "--device", "cpu"]):
        done = run(*command, model=None)
        assert done.exit_code == 65
        one_line(done, "bad.onnx")
        assert "tiny on cpu: ok" in done.stderr or "good  colorize" in done.stderr


def test_a_model_that_sees_colour_is_given_it(run: Run, tmp_path: Path) -> None:
    """The same photograph in colour and in grey: only this kind of model may answer differently."""
    Image.open(SAMPLE).convert("L").save("grey.png")
    Image.open(SAMPLE).save("colour.png")
    for model, differs in (("unet-downsized", True), ("unet", False)):
        spread = []
        for name in ("colour.png", "grey.png"):
            assert run(name, "-o", f"{model}-{name}", model=Path(model)).exit_code == 0
            lab = colour.srgb_to_lab(np.asarray(Image.open(f"{model}-{name}").convert("RGB"), np.float32) / 255)
            spread.append(float(np.linalg.norm(lab[..., 1:], axis=2).mean()))
        assert (spread[0] > 2 * spread[1]) == differs, spread


def test_model_without_golden_vectors_runs_but_does_not_verify(run: Run, tmp_path: Path) -> None:
    path = tampered(tmp_path, without(GOLDEN_KEY))
    assert run("photo.jpg", model=path).exit_code == 0
    assert run("verify", model=path).exit_code == 65


@pytest.mark.parametrize("content", [b"", b"not a model", TINY.read_bytes()[:20_000]])
def test_damaged_model_files(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    result = run("photo.jpg", model=tmp_path / "bad.onnx")
    assert result.exit_code == 65
    one_line(result, "bad.onnx")


@pytest.mark.parametrize("name", ["nonsense", "./nowhere.onnx"])
def test_unknown_models(run: Run, name: str) -> None:
    result = run("photo.jpg", "-m", name, model=None)
    assert result.exit_code == 65
    one_line(result, name)


def test_default_model_is_found(run: Run, tmp_path: Path) -> None:
    assert run("photo.jpg", model=None).exit_code == 0
    assert (tmp_path / "photo.colorized.jpg").is_file()


def test_cuda_is_never_the_cpu_in_disguise(run: Run, tmp_path: Path) -> None:
    result = run("photo.jpg", "--device", "cuda")
    if result.exit_code == 0:
        pytest.skip("CUDA works here")
    assert result.exit_code == 69
    one_line(result, "CUDA")
    assert not (tmp_path / "photo.colorized.jpg").exists()
    assert result.stdout == ""


def test_auto_says_what_it_took_and_why(run: Run) -> None:
    result = run("photo.jpg")
    assert [line for line in result.stderr.splitlines() if line.startswith("device: ")]
    assert "device: " not in run("photo.jpg", "--overwrite", "--device", "cpu").stderr


# -- the process ----------------------------------------------------------------------------------------------


def test_help_shows_examples_and_exit_codes(run: Run) -> None:
    result = run("--help", model=None)
    assert result.exit_code == 0
    for word in ("photo.jpg", "verify", "Exit codes", "69"):
        assert word in result.output


def test_interrupt_leaves_no_half_file(tmp_path: Path) -> None:
    """SIGINT at several moments of a run over many pictures: 130, and every output that exists is whole."""
    for i in range(40):
        shutil.copy(SAMPLE, tmp_path / f"{i:02d}.jpg")
    inputs = sorted(map(str, tmp_path.glob("*.jpg")))
    interrupted = 0
    for delay in (0.0, 0.1, 0.3):
        out = tmp_path / f"out{delay}"
        process = subprocess.Popen(
            [sys.executable, "-m", "colorize_run", *inputs, "-o", str(out), "-m", str(TINY), "--force"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        process.stderr.readline()  # what device it took: a Python that is still starting has its own way to die
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        if process.returncode != 0:
            assert process.returncode in (130, -signal.SIGINT), stderr
            interrupted += 1
        for path in out.iterdir() if out.exists() else []:
            assert not path.name.startswith("."), "a partial file was left"
            with Image.open(path) as image:
                image.load()
    assert interrupted


def test_twelve_megapixels_in_bounded_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with Image.open(SAMPLE) as image:
        large = image.resize((4000, 3000), Image.Resampling.BICUBIC)
    noisy = np.asarray(large).astype(np.int16) + rng.normal(0, 4, (3000, 4000, 1)).astype(np.int16)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(tmp_path / "large.jpg", quality=92)
    done = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, str(tmp_path / "large.jpg"), "-m", str(TINY), "--force", "--lightness", "cielab"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 500
    with Image.open(tmp_path / "large.jpg") as before, Image.open(tmp_path / "large.colorized.jpg") as after:
        difference = colour.lightness(np.asarray(before)) - colour.lightness(np.asarray(after))
    assert np.abs(difference).mean() < 0.5


def test_very_wide_pictures_in_bounded_memory(tmp_path: Path) -> None:
    huge_png(tmp_path / "wide.png", 20_000_000, 3)
    done = subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY, str(tmp_path / "wide.png"), "-m", str(TINY)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 1200


def test_module_and_script_are_the_same(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "colorize_run", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("colorize-run, version ")


def test_runtime_imports_no_training_package() -> None:
    code = (
        "import sys, colorize_run, colorize_run.cli, colorize_run.colorize, colorize_run.model.verify\n"
        "print(sorted({'torch', 'onnx', 'training', 'export', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "runtime")
    assert done.stdout.strip() == "[]"
