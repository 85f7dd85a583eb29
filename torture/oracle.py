"""The oracle of every trial: each input has one final state, each output is right, and nothing else lies about."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from torture.rig import STATE, Broken, Golden, Watch


def check_outputs(watch: Watch, golden: Golden, versions: Mapping[bytes, list[bytes]] | None = None) -> None:
    """At any moment, even in the middle: what has a name in the outbox is whole and right. Errors: Broken.

    ``versions`` holds what each input ever was; without them it is what the inputs are now.
    """
    root = os.fsencode(watch.outbox)
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each != os.fsencode(STATE)]
        for base in names:
            name = os.path.relpath(os.path.join(folder, base), root)
            if base.startswith(b".cz-"):
                continue
            known = versions.get(name) if versions is not None else _now(watch, name)
            if not known:
                raise Broken(f"{name!r} appeared in the outbox, but there is no such input")
            with open(os.path.join(folder, base), "rb") as file:
                found = hashlib.sha256(file.read()).hexdigest()
            if found not in {golden(data) for data in known}:
                raise Broken(f"{name!r} in the outbox is torn or wrong")


def _now(watch: Watch, name: bytes) -> list[bytes]:
    try:
        return [Path(os.fsdecode(os.path.join(os.fsencode(watch.inbox), name))).read_bytes()]
    except FileNotFoundError:
        return []


def judge(watch: Watch, golden: Golden, inputs: Mapping[bytes, bytes], quarantined: Mapping[bytes, str] | None = None) -> None:
    """The oracle, once all is quiet: nothing lost, nothing torn, nothing wrong, nothing left over. Errors: Broken.

    ``inputs``: the latest bytes of every input; ``quarantined``: reason class of those that must be.
    """
    quarantined = quarantined or {}
    rows = watch.rows()
    for name, data in inputs.items():
        row = rows.get(name)
        if row is None:
            raise Broken(f"{name!r} was lost")
        if _now(watch, name) != [data]:
            raise Broken(f"the input {name!r} was touched")
        output = Path(os.fsdecode(os.path.join(os.fsencode(watch.outbox), row["out"] or name)))
        if name in quarantined:
            continue
        if row["state"] != "done":
            raise Broken(f"{name!r} is {row['state']}: {row['err_class']}: {row['err']}")
        if not output.is_file() or hashlib.sha256(output.read_bytes()).hexdigest() != golden(data):
            raise Broken(f"the output of {name!r} is missing or wrong")
        if row["out_sha"] != golden(data):
            raise Broken(f"the ledger has another digest of {name!r}'s output")
    judge_given_up(watch, quarantined)
    known = {os.fsencode(STATE)} | {(rows[name]["out"] or name).split(b"/")[0] for name in inputs if name not in quarantined}
    if strangers := set(os.listdir(os.fsencode(watch.outbox))) - known:
        raise Broken(f"the outbox holds {strangers}")
    if strangers := set(rows) - set(inputs) - {name for name, row in rows.items() if row["gone"] or name in quarantined}:
        raise Broken(f"the ledger knows {strangers}")


def judge_given_up(watch: Watch, quarantined: Mapping[bytes, str]) -> None:
    """Each of these is quarantined for its reason, in the ledger and beside it. Errors: Broken."""
    rows = watch.rows()
    for name, reason in quarantined.items():
        row = rows[name]
        if row["state"] != "quarantined" or row["err_class"] != reason:
            raise Broken(f"{name!r} should be quarantined as {reason}, but is {row['state']}: {row['err_class']}: {row['err']}")
        sidecar = watch.state / "quarantine" / f"{os.fsdecode(name)}.json"
        if len(name) < 250 and not (sidecar.is_file() and json.loads(sidecar.read_text())["reason"]):
            raise Broken(f"{name!r} was quarantined without a reason")
