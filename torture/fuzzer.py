"""``python -m torture.fuzzer TARGET SECONDS FOLDER`` lets atheris look for bytes that `torture.fuzz` does not foresee.

What it finds lies in FOLDER, and the exit code is not 0 then.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "colorize_run"]):
    from torture import fuzz

if __name__ == "__main__":
    _target, _seconds, _folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    _corpus = _folder / "corpus"
    _corpus.mkdir(parents=True, exist_ok=True)
    _function, _seeds = fuzz.TARGETS[_target]
    for _number, _data in enumerate(_seeds()):
        (_corpus / f"seed{_number}").write_bytes(_data)
    _arguments = [
        sys.argv[0], f"-max_total_time={_seconds}", "-timeout=5", "-rss_limit_mb=1536", f"-artifact_prefix={_folder}/",
        "-max_len=65536", str(_corpus),
    ]  # fmt: skip
    atheris.Setup(_arguments, _function)
    atheris.Fuzz()
