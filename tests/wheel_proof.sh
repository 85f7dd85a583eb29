#!/usr/bin/env bash
# Builds the wheel and uses it in an environment that holds nothing else: no checkout on the path, no PyTorch.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$root/.venv/bin/python" -m build --wheel --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
"${PYTHON:-python3}" -m venv "$work/venv"
wheel=$(echo "$work"/dist/*.whl)
"$work/venv/bin/pip" install --quiet "$wheel[cpu]"
cp "$root/docs/samples/coffee.jpg" "$work/photo.jpg"
cd "$work"

for package in torch torchvision lightning onnx training export; do
    if ./venv/bin/python -c "import $package" 2>/dev/null; then
        echo "wheel proof: $package can be imported where only the wheel is installed" >&2
        exit 1
    fi
done
./venv/bin/colorize-run doctor --device cpu
./venv/bin/colorize-run verify --device cpu
./venv/bin/colorize-run models path photo-int8 >/dev/null
./venv/bin/colorize-run --force photo.jpg
test -s photo.colorized.jpg
./venv/bin/colorize-run segment photo.jpg --as cutout
test -s photo.cutout.png
mkdir scans && cp photo.jpg scans/
./venv/bin/colorize-run scans/ -o coloured/ --force --report run.jsonl --report run.html
test -s coloured/photo.jpg
test -s run.jsonl
grep --quiet "1 picture: 1 coloured" run.html
mkdir inbox && cp photo.jpg inbox/
./venv/bin/colorize-run watch inbox outbox --once --device cpu 2>/dev/null
test -s outbox/photo.jpg
./venv/bin/python - <<'PYTHON'
import sys

from colorize_run import Colorizer
from PIL import Image

coloured = Colorizer(device="cpu").colorize(Image.open("photo.jpg"))
assert coloured.size == Image.open("photo.jpg").size
assert not {"torch", "onnx"} & set(sys.modules), "the runtime imported PyTorch or onnx"
PYTHON
if ./venv/bin/colorize-run photo.jpg -o other.jpg --device cuda 2>message; then
    echo "wheel proof: --device cuda succeeded with the CPU build of onnxruntime" >&2
    exit 1
fi
test ! -e other.jpg
model=$(./venv/bin/colorize-run models path photo)
cp "$root/artifacts/unet.onnx" "$model" # whole, but not what was installed
if ./venv/bin/colorize-run doctor --device cpu -m photo 2>message || ! grep -q "not the file that was installed" message; then
    echo "wheel proof: doctor took another file for the model that was installed" >&2
    exit 1
fi
echo "wheel proof: colorize-run works from the wheel alone, without PyTorch"
