"""Proves with other programs that a coloured JPEG keeps the grey picture: the same Y plane, and the same file after restore.

``python tests/conformance/jpeg_planes.py FOLDER [--count 300] [--seed 0] [--browser]`` makes grey JPEG files of many kinds
in FOLDER/grey, colours them into FOLDER/coloured, restores them into FOLDER/restored and judges each pair. It prints a
table and exits with 1 if a check fails. A program that is not installed is skipped, and the last line names it:
``apt-get install libjpeg-turbo-progs imagemagick ffmpeg libimage-exiftool-perl chromium``.
"""

import argparse
import base64
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from grey_jpegs import Plane, frame_of, generate, magick, segments
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"

# What each program prints of FILE. Two of them print the Y plane as it is in the file: ``-grayscale`` makes libjpeg leave
# out the conversion of colours, ``extractplanes`` works on ffmpeg's own frame. ImageMagick decodes to YCbCr if the setting is
# before the file; for a file with one component it does so without the setting. Without ``-f jpeg_pipe`` ffmpeg would show
# the second of two JPEG pictures in one file.
COMMANDS = {
    "djpeg": ["djpeg", "-grayscale", "FILE"],
    "djpeg in colour": ["djpeg", "FILE"],
    "ImageMagick": [magick() or "convert", "FILE", "-channel", "R", "-separate", "-depth", "8", "gray:-"],
    "ffmpeg": ["ffmpeg", "-v", "error", "-nostdin", "-noautorotate", "-f", "jpeg_pipe", "-i", "FILE", "-frames:v", "1",
               "-vf", "extractplanes=y", "-f", "rawvideo", "-"],
    "exiftool": ["exiftool", "-a", "-validate", "-warning", "-error", "FILE"],
}  # fmt: skip
SHOWS_NO_PLANE = ("djpeg in colour", "exiftool")


def missing_programs() -> list[str]:
    return sorted({command[0] for command in COMMANDS.values() if shutil.which(command[0]) is None})


def read_by(name: str, path: Path) -> tuple[Plane, Counter[str]]:
    """The bytes that a program prints of a file, and its messages; no bytes if it fails."""
    command = [str(path) if word == "FILE" else word for word in COMMANDS[name]]
    if name == "ImageMagick" and components(path) == 3:
        command[1:1] = ["-colorspace", "YCbCr"]
    done = subprocess.run(command, capture_output=True)
    text = done.stdout if name == "exiftool" else done.stderr
    # what exiftool skips before a segment it names by the one before, which may be new
    lines = re.sub(
        "0x[0-9a-f]{6,}|after JPEG \\w+ segment", "", text.decode(errors="replace").replace(str(path), "FILE")
    ).splitlines()
    plane = np.frombuffer(b"" if done.returncode else done.stdout, np.uint8)
    return plane, Counter(line for line in lines if not line.startswith("Validate"))


def components(path: Path) -> int:
    data = path.read_bytes()
    return data[frame_of(data).body + 5]


def read_by_library(name: str, path: Path) -> Plane:
    """The Y plane by Pillow's two ways or by OpenCV; empty if the library cannot read the file."""
    if name == "OpenCV":
        plane = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
        return np.zeros(0, np.uint8) if plane is None else plane.astype(np.uint8).ravel()
    try:
        with Image.open(path) as image:
            image.draft(name.removeprefix("Pillow "), None)
            return np.asarray(image).reshape(image.height * image.width, -1)[:, 0]
    except (OSError, SyntaxError):
        return np.zeros(0, np.uint8)


def difference(before: Plane, after: Plane) -> str:
    """A sentence if the planes differ, otherwise nothing."""
    if before.size != after.size:
        return f"The plane has {after.size} bytes instead of {before.size}."
    wrong = np.abs(before.astype(int) - after)
    return f"{np.count_nonzero(wrong)} of {wrong.size} samples differ, by {wrong.max()} at most." if wrong.any() else ""


def results(before: Path, after: Path, restored: Path) -> Iterator[tuple[str, str]]:
    """Each check with a sentence of what is wrong, or with nothing. Checks that are not possible are left out."""
    if not after.is_file():
        yield "coloured", "The command wrote no file."
        return
    data = after.read_bytes()
    yield "coloured", "" if components(after) == 3 else f"The result has {components(after)} components instead of 3."
    profiles = [part for part in segments(data) if data.startswith(b"ICC_PROFILE", part.body)]
    profile = b"".join(data[part.body + 14 : part.end] for part in profiles)
    yield "profile", "The profile is still one for grey." if profile[16:20] == b"GRAY" else ""
    for name in ("Pillow L", "Pillow YCbCr", "OpenCV"):
        if (plane := read_by_library(name, before)).size:
            yield f"Y by {name}", difference(plane, read_by_library(name, after))
    for name in [name for name in COMMANDS if shutil.which(COMMANDS[name][0])]:
        (plane, messages), (new_plane, new_messages) = read_by(name, before), read_by(name, after)
        if name not in SHOWS_NO_PLANE and plane.size:
            yield f"Y by {name}", difference(plane, new_plane)
        new = ", ".join(new_messages - messages)
        yield f"messages of {name}", f"It says now: {new}" if new else ""
    same = restored.is_file() and restored.read_bytes() == before.read_bytes()
    yield "restored", "" if same else "The restored file is missing." if not restored.is_file() else "The bytes differ."


def judge(before: Path, after: Path, restored: Path) -> list[str]:
    """Sentences of what is wrong with a grey file, its coloured result and the restored file; none if all is well."""
    return [f"{check}: {sentence}" for check, sentence in results(before, after, restored) if sentence]


DRAW = """async ([before, after]) => {
  const draw = async text => {
    const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], {type: "image/jpeg"}), {colorSpaceConversion: "none"});
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, bitmap.width, bitmap.height);
  };
  const grey = await draw(before), colour = await draw(after);
  if (grey.width !== colour.width || grey.height !== colour.height) return "The size differs.";
  let worst = 0;
  for (let at = 0; at < grey.data.length; at += 4) {
    const [r, g, b] = colour.data.subarray(at, at + 3);
    if (Math.min(r, g, b) > 0 && Math.max(r, g, b) < 255)  // a clipped pixel cannot keep its luma
      worst = Math.max(worst, Math.abs(0.299 * r + 0.587 * g + 0.114 * b - grey.data[at]));
  }
  return worst > 2 ? `The luma differs by ${worst.toFixed(1)} at most.` : "";
}"""


def chromium_path() -> str | None:
    """Where Chromium is, if playwright can drive it here."""
    if importlib.util.find_spec("playwright") is None:
        return None
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def drawn(pairs: Iterable[tuple[Path, Path]]) -> Iterator[str]:
    """For each original and its result a sentence, or nothing: whether Chromium draws both with the same luma."""
    from playwright.sync_api import Error, sync_playwright

    chromium = chromium_path()
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page()
        for pair in pairs:
            try:
                yield page.evaluate(DRAW, [base64.b64encode(path.read_bytes()).decode() for path in pair])
            except Error as error:
                yield f"Chromium does not draw it: {error.message.splitlines()[0]}"
        browser.close()


def colorize_run(*arguments: str | Path) -> None:
    """Run the command line; it reports its own failures, and files that are missing afterwards are failures here."""
    environment = {**os.environ, "COLORIZE_RUN_PROFILE": "", "PYTHONPATH": str(RUNTIME)}
    subprocess.run([sys.executable, "-m", "colorize_run", *map(str, arguments)], env=environment, check=False)


def write_table(outcomes: Sequence[tuple[str, str, str]]) -> bool:
    """Print each check with its files, failures and first failing names. ``outcomes``: (check, file, sentence).

    Returns whether all is well.
    """
    sys.stdout.write(f"{'check':26} {'files':>6} {'failures':>9}  first failures\n")
    for check in dict.fromkeys(check for check, _, _ in outcomes):
        files = [(name, sentence) for known, name, sentence in outcomes if known == check]
        failed = [(name, sentence) for name, sentence in files if sentence]
        sys.stdout.write(f"{check:26} {len(files):6} {len(failed):9}\n")
        sys.stdout.writelines(f"    {name}: {sentence}\n" for name, sentence in failed[:3])
    return not any(sentence for _, _, sentence in outcomes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a new or empty folder")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--browser", action="store_true", help="compare also what Chromium draws")
    options = parser.parse_args()
    if options.folder.is_dir() and any(options.folder.iterdir()):
        parser.error(f"{options.folder} is not empty")
    grey, coloured, restored = (options.folder / name for name in ("grey", "coloured", "restored"))
    paths = generate(grey, options.count, options.seed)
    colorize_run(grey, "-o", coloured)
    colorize_run("restore", *filter(Path.is_file, (coloured / path.name for path in paths)), "-o", restored)
    outcomes = [
        (check, path.name, sentence)
        for path in paths
        for check, sentence in results(path, coloured / path.name, restored / path.name)
    ]
    missing = missing_programs()
    if options.browser and chromium_path() is None:
        missing.append("chromium with playwright")
    elif options.browser:
        pairs = [(path, coloured / path.name) for path in paths if (coloured / path.name).is_file()]
        outcomes += [("luma by Chromium", pair[0].name, sentence) for pair, sentence in zip(pairs, drawn(pairs), strict=True)]
    good = write_table(outcomes)
    sys.stdout.write(f"programs that are not installed: {', '.join(missing) or 'none'}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
