"""The package as a library in somebody's program: what that prints and starts is its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import os, sys, threading
from colorize_run import Colorizer
from colorize_run.errors import ImageFileError

colorizer, going, lines = Colorizer(sys.argv[1], "cpu", 1), threading.Event(), 0

def write_lines():
    global lines
    going.set()
    while going.is_set():
        os.write(1, b"stdout line\\n")
        os.write(2, b"stderr line\\n")
        print("print line", flush=True)
        lines += 1

writer = threading.Thread(target=write_lines)
writer.start()
refused = 0
for name in sys.argv[2:]:
    try:
        colorizer.colorize_file(name)
    except ImageFileError as error:
        refused += str(error).startswith("is damaged")
going.clear()
writer.join()
sys.stderr.write(f"{lines} {refused}")
"""


def test_nothing_that_other_threads_print_is_swallowed(tmp_path: Path) -> None:
    grey = np.tile(np.arange(256, dtype=np.uint8), (900, 4))
    sound, damaged = tmp_path / "sound.tif", tmp_path / "damaged.tif"
    Image.fromarray(grey).save(sound, compression="tiff_lzw")
    data = bytearray(sound.read_bytes())
    data[200:400] = bytes(200)
    damaged.write_bytes(data)
    model = str(ROOT / "tests" / "data" / "tiny.onnx")
    command = [sys.executable, "-c", PROGRAM, model, str(sound), str(damaged), str(sound)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ, check=True)
    lines, refused = (int(word) for word in ended.stderr.split()[-2:])
    assert refused == 1
    assert lines > 0
    assert [ended.stdout.count(line) for line in ("stdout line\n", "print line\n")] == [lines, lines]
    assert ended.stderr.count("stderr line\n") == lines
