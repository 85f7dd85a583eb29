"""Reports of a run: lines for programs, and the page for people, in a real browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colorize_run import colour
from colorize_run.batch.json_lines import SCHEMA, JsonLines
from colorize_run.batch.messages import Engine, Options, Outcome
from colorize_run.batch.plan import Task
from colorize_run.cli import main
from colorize_run.system.hardware import available_threads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"
HOSTILE = os.fsdecode(b"<img src=x onerror=alert(1)>\"'&\n\xff<_script>.png")
FIELDS = {
    "schema", "run", "input", "output", "status", "reason", "code", "width", "height", "input_bytes", "output_bytes",
    "input_sha256", "output_sha256", "ms", "device", "model", "model_sha256", "delta_lightness", "clipped", "notes",
}  # fmt: skip

TRIED = ("nowhere.png",)  # what a test does against the page's policy, of which the browser speaks

Run = Callable[..., Result]


def fill(folder: Path) -> None:
    """A folder of seven files: four are done, one is copied, two fail."""
    (folder / "sub").mkdir(parents=True)
    grain = np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8)
    for number, name in enumerate(("a.png", "b.jpg", HOSTILE)):
        Image.fromarray(np.roll(grain, number)).resize((240, 180)).save(folder / name)
    Image.fromarray(grain.T).resize((90, 160)).save(folder / "sub/tall.webp")
    Image.open(ROOT / "docs/samples/coffee.jpg").resize((120, 80)).save(folder / "coloured.png")
    (folder / "empty.png").touch()
    (folder / "<script>alert(2)<_script>.jpg").write_text("no picture")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``colorize-run`` with the tiny model where such a folder is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "runtime"))
    fill(tmp_path / "in")

    def invoke(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(main, [*map(str, arguments), "-m", str(TINY), "--device", "cpu"])
        assert "Traceback" not in result.output
        assert "internal error" not in result.output
        return result

    return invoke


def lines_of(path: Path) -> list[dict[str, Any]]:
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


# -- lines ----------------------------------------------------------------------------------------------------


def test_a_line_for_each_picture(run: Run, tmp_path: Path) -> None:
    assert run("in", "-o", "out", "-r", "--report", "run.jsonl").exit_code == 1
    lines = lines_of(tmp_path / "run.jsonl")
    assert Counter(line["status"] for line in lines) == {"done": 4, "copied": 1, "failed": 2}
    for line in lines:
        assert set(line) == FIELDS
        assert line["schema"] == SCHEMA
        assert (line["reason"] is None) == (line["status"] != "failed") == (line["code"] == 0)
        assert line["device"] == "cpu"
        assert re.fullmatch("[0-9a-f]{64}", line["model_sha256"])
        if line["status"] == "failed":
            continue
        assert Path(line["input"]).stat().st_size == line["input_bytes"]
        assert Path(line["output"]).stat().st_size == line["output_bytes"]
        with Image.open(line["output"]) as image:
            assert image.size == (line["width"], line["height"])
        assert line["ms"].keys() >= {"decode", "encode", "write"}
        if line["status"] == "done":
            assert line["ms"].keys() >= {"network", "join"}
            assert (
                0
                <= line["delta_lightness"]["mean"]
                <= line["delta_lightness"]["max"]
                < (9 if line["output"].endswith(".jpg") else 0.35)
            )
    (copied,) = [line for line in lines if line["status"] == "copied"]
    assert copied["delta_lightness"] is None
    assert "already has colours" in copied["notes"][0]


def test_lightness_is_that_of_the_pictures(run: Run, tmp_path: Path) -> None:
    run("in/a.png", "-o", "a.png", "--report", "run.jsonl", "--saturation", "4")
    (line,) = lines_of(tmp_path / "run.jsonl")
    before, after = (
        colour.srgb_to_lab(np.asarray(Image.open(path).convert("RGB"), np.float32) / 255)[..., 0]
        for path in ("in/a.png", "a.png")
    )
    difference = np.abs(before - after)
    assert line["delta_lightness"]["mean"] == pytest.approx(difference.mean(), abs=0.01)
    assert line["delta_lightness"]["max"] == pytest.approx(difference.max(), abs=0.03)
    assert line["clipped"] > 0


def test_a_further_run_appends(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        run("in", "-o", "out", "-r", "--report", "run.jsonl")
    with (tmp_path / "run.jsonl").open("ab") as file:
        file.write(b'{"schema": 1, "torn by a pow')
    run("in", "-o", "out", "-r", "--report", "run.jsonl")
    lines = (tmp_path / "run.jsonl").read_text().splitlines()
    assert len(lines) == 22
    whole = [json.loads(line) for line in lines if not line.endswith("pow")]
    runs = [
        Counter(line["status"] for line in whole if line["run"] == run) for run in dict.fromkeys(line["run"] for line in whole)
    ]
    assert runs == [{"done": 4, "copied": 1, "failed": 2}, {"skipped": 5, "failed": 2}, {"skipped": 5, "failed": 2}]
    skipped = next(line for line in whole if line["status"] == "skipped")
    assert skipped["input_sha256"]
    assert skipped["output_sha256"]


OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from(["done", "copied", "skipped", "failed"]),
    reason=st.text(),
    code=st.integers(0, 75),
    size=st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20)),
    milliseconds=st.dictionaries(st.text(), st.floats(0, 1e9)),
    clipped=st.floats(0, 1),
    notes=st.lists(st.text()),
)
BYTES = st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(outcomes=st.lists(st.tuples(BYTES, OUTCOMES), max_size=6))
def test_lines_are_whole_whatever_they_hold(tmp_path: Path, outcomes: list[tuple[bytes, Outcome]]) -> None:
    path = tmp_path / "run.jsonl"
    path.unlink(missing_ok=True)
    report = JsonLines(path, Options("colorize", "photo"))
    report.begin(None, Engine("photo", "0", "photo.onnx", "cpu", "it is there", 1, "0"))
    for number, (name, outcome) in enumerate(outcomes, 1):
        report.finished(Task(Path(os.fsdecode(name)), Path("out")), outcome)
        assert path.read_bytes().count(b"\n") == number
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    assert [os.fsencode(line["input"]) for line in lines] == [os.fsencode(Path(os.fsdecode(name))) for name, _ in outcomes]
    assert [line["status"] for line in lines] == [outcome.status for _, outcome in outcomes]
    os.close(report._fd)


def test_reports_that_cannot_be(run: Run, tmp_path: Path) -> None:
    assert run("in", "-o", "out", "--report", "run.txt").exit_code == 2
    for name in ("run.jsonl", "run.html"):
        (tmp_path / name).write_text("precious")
        result = run("in", "-o", "out", "--report", name)
        assert result.exit_code == 73
        assert f"{name} exists" in result.stderr
        assert (tmp_path / name).read_text() == "precious"
    assert not (tmp_path / "out").exists()
    assert run("in", "-o", "out", "--report", "run.jsonl", "--report", "run.html", "--overwrite").exit_code == 1
    assert len(lines_of(tmp_path / "run.jsonl")) == 6


def test_a_report_is_never_the_index(run: Run, tmp_path: Path) -> None:
    assert run("in", "-o", "out", "--report", "out/.colorize-run.jsonl").exit_code == 2
    assert not (tmp_path / "out").exists()
    run("in", "-o", "out")
    index = tmp_path / "out/.colorize-run.jsonl"
    before = index.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(index)
    os.link(index, tmp_path / "twin.jsonl")
    for name, code in (("out/.colorize-run.jsonl", 2), ("link.jsonl", 2), ("twin.jsonl", 73)):
        result = run("in", "-o", "out", "--report", name, "--overwrite")
        assert result.exit_code == code
        assert "index of a folder" in result.stderr or "folder's index" in result.stderr
        assert index.read_bytes() == before


def test_a_report_never_replaces_what_the_run_reads_or_writes(run: Run, tmp_path: Path) -> None:
    Image.new("L", (240, 180), 255).save("m.png")
    (tmp_path / "m.jsonl").symlink_to("m.png")
    os.link(shutil.copy(TINY, "model.onnx"), "model.html")
    (tmp_path / "late.jsonl").symlink_to("o.jpg")
    before = {name: Path(name).read_bytes() for name in ("m.png", "model.onnx")}
    picture = ["in/b.jpg", "-o", "o.jpg", "--overwrite"]
    for words, what in (
        (["--mask", "m.png", "--report", "m.jsonl"], "the mask"),
        (["--report", "late.jsonl"], "a picture"),
        (["--report", "r.jsonl", "--report", "./r.jsonl", "--report", "linked.jsonl"], "another report"),
    ):
        (tmp_path / "linked.jsonl").unlink(missing_ok=True)
        (tmp_path / "linked.jsonl").symlink_to("r.jsonl")
        result = run(*picture, *words)
        assert (result.exit_code, what in result.stderr) == (73, True), result.stderr
    words = [*picture, "--report", "model.html", "--device", "cpu", "-m", "model.onnx"]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, "the model" in result.stderr) == (73, True), result.stderr
    assert {name: Path(name).read_bytes() for name in before} == before
    assert not (tmp_path / "o.jpg").exists()


def test_a_report_by_two_spellings_is_one(run: Run, tmp_path: Path) -> None:
    assert run("in/a.png", "-o", "o.png", "--report", "r.jsonl", "--report", "./r.jsonl").exit_code == 0
    assert len(lines_of(tmp_path / "r.jsonl")) == 1


@pytest.mark.parametrize(
    "content", ['"my schema of life"', '{"schema": 1}', '{"schema": "x", "run": 1, "input": 1, "status": 1}', 99_999 * "["]
)
def test_lines_of_others_are_not_continued(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "f.jsonl").write_text(content)
    result = run("in/a.png", "-o", "o.png", "--report", "f.jsonl")
    assert (result.exit_code, (tmp_path / "f.jsonl").read_text()) == (73, content)


def test_a_hang_up_that_is_ignored_ends_nothing(run: Run, tmp_path: Path) -> None:
    code = LATE.format(name="late.html", when="_finish").replace("import sys", "import os, signal, sys").replace(
        "sys.setprofile(None)", "os.kill(os.getpid(), signal.SIGHUP)"
    )  # fmt: skip
    words = ["in/a.png", "-o", "o.png", "-m", str(TINY), "--device", "cpu"]
    start = ["nohup", sys.executable, "-c", code, *words]
    assert subprocess.run(start, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("ends", "code"), [("", 73), ("os.kill(os.getpid(), signal.SIGINT)", 130)])
def test_a_report_that_fails_takes_no_other_along(run: Run, tmp_path: Path, ends: str, code: int) -> None:
    hook = LATE.replace("import sys", "import os, signal, sys").replace("sys.setprofile(None)", f"sys.setprofile(None); {ends}")
    hook = hook.format(name="late.html", when="_finish")
    words = ["in", "-o", "o", "--report", "ok.html", "--report", "late.html", "-m", str(TINY), "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", hook, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "late.html exists" in done.stderr
    assert "</html>" in (tmp_path / "ok.html").read_text()


def test_a_log_that_nobody_reads_ends_no_run(run: Run, tmp_path: Path) -> None:
    for name in ("empty.png", "<script>alert(2)<_script>.jpg"):
        (tmp_path / "in" / name).unlink()
    words = ["in", "-o", "out", "-r", "--report", "run.html", "-m", str(TINY), "--device", "cpu"]
    with subprocess.Popen([sys.executable, "-m", "colorize_run", *words], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.stderr.close()
        assert process.wait(timeout=60) == 0
    assert "5 pictures: 4 coloured, 1 copied" in (tmp_path / "run.html").read_text()


LATE = """
import sys
from pathlib import Path
from colorize_run.cli import main
def hook(frame, event, argument):
    if event == "call" and frame.f_code.co_name == {when!r} and "colorize_run" in frame.f_code.co_filename:
        Path({name!r}).write_text("precious")
        sys.setprofile(None)
sys.setprofile(hook)
main(sys.argv[1:])
"""


@pytest.mark.parametrize(("name", "when"), [("late.html", "_finish"), ("late.jsonl", "_open_indices")])
def test_what_came_into_being_during_the_run_is_kept(run: Run, tmp_path: Path, name: str, when: str) -> None:
    words = ["in/a.png", "-o", "o.png", "--report", name, "-m", str(TINY), "--device", "cpu"]
    code = LATE.format(name=name, when=when)
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert (tmp_path / name).read_text() == "precious"
    assert done.returncode == 73, done.stderr
    assert f"{name} exists" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_report_that_becomes_a_link_leads_nowhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").touch()
    (tmp_path / "precious.txt").write_text("precious")
    hook = LATE.format(name="r.jsonl", when="_open_indices").replace(
        "Path('r.jsonl').write_text(\"precious\")", "Path('r.jsonl').unlink(); Path('r.jsonl').symlink_to('precious.txt')"
    )
    assert "symlink_to" in hook
    words = ["in/a.png", "-o", "o.png", "--report", "r.jsonl", "--overwrite", "-m", str(TINY), "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", hook, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, "r.jsonl cannot be written" in done.stderr) == (73, True), done.stderr
    assert (tmp_path / "precious.txt").read_text() == "precious"


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_a_report_that_is_no_file_is_refused_before_any_work(run: Run, tmp_path: Path, words: list[str]) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    os.mkfifo(tmp_path / "pipe.html")
    (tmp_path / "folder.html").mkdir()
    for name in ("pipe.jsonl", "pipe.html", "folder.html"):
        command = [sys.executable, "-m", "colorize_run", "in/a.png", "-o", "o.png", "--report", name, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 73
        assert f"{name} is not a regular file" in done.stderr
    assert not (tmp_path / "o.png").exists()


def test_reports_of_files_without_folders(run: Run, tmp_path: Path) -> None:
    result = run("in/a.png", "in/empty.png", "-o", "out/", "--report", "run.jsonl", "--report", "run.html")
    assert result.exit_code == 1
    assert [line["status"] for line in lines_of(tmp_path / "run.jsonl")] == ["done", "failed"]
    assert "2 pictures: 1 coloured, 1 failed" in (tmp_path / "run.html").read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupt_writes_the_page_with_what_is_there(run: Run, tmp_path: Path, number: int, code: int) -> None:
    for name in range(60):
        Image.effect_noise((300, 200), 60).save(tmp_path / f"in/{name}.png")
    words = ["in", "-o", "out", "--report", "run.html", "--report", "run.jsonl", "-m", str(TINY), "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-m", "colorize_run", *words], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests themselves may run under nohup
    )  # fmt: skip
    lines = tmp_path / "run.jsonl"
    while process.poll() is None and (not lines.exists() or lines.read_bytes().count(b"\n") < 8):
        time.sleep(0.01)
    process.send_signal(number)
    if number != signal.SIGINT:
        process.send_signal(number)  # as a terminal that is closed
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == code, stderr
    assert "Interrupted;" in stderr
    assert "run the same command again to continue" in stderr
    page = (tmp_path / "run.html").read_text()
    assert "interrupted after" in page
    rows = json.loads(re.search(r'id="rows">(.*?)</script>', page, re.DOTALL)[1])
    assert 8 <= len(rows) == len(lines_of(lines)) < 66
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# -- the page -------------------------------------------------------------------------------------------------


def test_the_page_holds_everything_and_no_markup_of_others(run: Run, tmp_path: Path) -> None:
    run("in", "-o", "out", "-r", "--report", "run.html")
    page = (tmp_path / "run.html").read_text()
    assert "7 pictures: 4 coloured, 1 copied, 2 failed" in page
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(2)" in page
    assert page.count("</script>") == page.count("<script")
    size = len(page)
    assert run("in", "-o", "out", "-r", "--report", "run.html").exit_code == 1  # its own page is replaced
    again = (tmp_path / "run.html").read_text()
    assert "<h1>7 pictures: 5 already done, 2 failed</h1>" in again
    assert len(again) > 0.9 * size  # what was already done is shown too


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with api.sync_playwright() as browsers:
        opened = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the page of a run."""
    folder = tmp_path_factory.mktemp("report")
    fill(folder / "in")
    words = ["in", "-o", "out", "-r", "--report", "run.html", "-m", str(TINY), "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    done = subprocess.run([sys.executable, "-m", "colorize_run", *words], cwd=folder, env=environment, check=False)
    assert done.returncode == 1
    return (folder / "run.html").as_uri()


@pytest.fixture
def page(browser: Any, report: str) -> Iterator[Callable[..., Any]]:
    """Opens the page; whatever it complains of or asks the network for fails the test."""
    wrong: list[str] = []
    contexts = []

    def opened(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: any(word in message.text for word in TRIED) or wrong.append(message.text))
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        tab.goto(report)
        tab.wait_for_selector("#cards > li")
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


def test_filters_search_and_order(page: Callable[..., Any]) -> None:
    tab = page()
    count, cards = tab.locator("#count"), tab.locator("#cards > li:visible")
    assert count.text_content() == "7 of 7 pictures shown"
    assert count.get_attribute("aria-live") == "polite"
    for label, number in (("failed 2", 2), ("copied 1", 1), ("done 4", 4), ("all 7", 7)):
        tab.get_by_label(label).check()
        assert (count.text_content(), cards.count()) == (f"{number} of 7 pictures shown", number)
    tab.get_by_label("Name contains").fill("TALL")
    assert [cards.count(), cards.locator("h3").text_content()] == [1, "sub/tall.webp"]
    tab.get_by_label("Name contains").fill("")
    tab.get_by_label("Sort by").select_option("name")
    names = cards.locator("h3").all_text_contents()
    assert names.index("a.png") < names.index("b.jpg") < names.index("sub/tall.webp")
    tab.get_by_label("Sort by").select_option("largest")
    assert "240 × 180" in cards.first.text_content()


def test_sliders_by_keyboard(page: Callable[..., Any]) -> None:
    tab = page()
    slider = tab.get_by_label("Line between before and after, a.png")
    card = tab.locator("#cards > li", has_text="a.png")
    assert slider.get_attribute("aria-valuetext") == "50 % before, 50 % after"
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "51 % before, 49 % after"
    assert card.locator(".pair").evaluate("pair => pair.style.getPropertyValue('--at')") == "51%"
    assert slider.evaluate("input => getComputedStyle(input).outlineStyle") == "solid"
    tab.keyboard.press("End")
    assert slider.input_value() == "100"
    slider.scroll_into_view_if_needed()
    tab.wait_for_function("[...document.querySelectorAll('.pair img')].some(image => image.naturalWidth > 0)")
    box = card.locator(".pair").bounding_box()
    tab.mouse.click(box["x"] + box["width"] / 4, box["y"] + 10)
    assert slider.input_value() == "25"


def test_everything_is_reached_by_tab(page: Callable[..., Any]) -> None:
    tab = page()
    reached = []
    for _ in range(20):
        tab.keyboard.press("Tab")
        reached.append(str(tab.evaluate("(({ id, className, type }) => id || className || type)(document.activeElement)")))
    assert reached[0] == "skip"
    assert {"failures", "search", "sort", "radio"} < set(reached)
    assert len({name for name in reached if name.startswith("range-")}) == 5


def test_pictures_come_first(page: Callable[..., Any]) -> None:
    """The first row of pictures is in the window of a laptop; the facts of the run are folded away."""
    tab = page(viewport={"width": 1280, "height": 720})
    frames = [frame.bounding_box() for frame in tab.locator("#cards figure").all()]
    top = min(frame["y"] for frame in frames)
    row = [frame for frame in frames if frame["y"] == top]
    assert len(row) > 1
    assert all(frame["y"] + frame["height"] <= 720 for frame in row)
    facts = tab.get_by_role("table")
    assert not facts.is_visible()
    tab.get_by_text("About this run").click()
    assert facts.is_visible()


def test_titles_are_relative_and_paths_are_details(page: Callable[..., Any], report: str) -> None:
    tab = page()
    folder = report.removeprefix("file://").removesuffix("/run.html")
    title = tab.locator("#cards h3", has_text="tall.webp")
    assert title.text_content() == "sub/tall.webp"
    assert title.get_attribute("title") == f"{folder}/in/sub/tall.webp"
    assert folder not in tab.locator("body").inner_text()
    tab.get_by_text("About this run").click()
    facts = tab.get_by_role("table").inner_text()
    assert f"{folder}/in\n" in facts
    assert f"{folder}/out\n" in facts


def test_facts_are_in_plain_words(run: Run, tmp_path: Path) -> None:
    def facts(*words: str) -> dict[str, str]:
        assert run("in/a.png", "-o", "o.png", "--overwrite", "--report", "run.html", *words).exit_code == 0
        rows = re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', (tmp_path / "run.html").read_text())
        return dict(rows)

    assert facts()["Options"] == "existing files replaced"
    changed = facts("--force", "--saturation", "0.5", "--strip-metadata")["Options"]
    assert set(changed.split("; ")) == {
        "existing files replaced",
        "saturation 0.5",
        "metadata removed",
        "pictures that already have colours are coloured too",
    }
    assert facts("--jobs", "1")["In parallel"] == f"1 process with {threads(available_threads())}"


def threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"


def test_failures_are_unfolded(page: Callable[..., Any]) -> None:
    tab = page()
    failures = tab.locator("ol.failures")
    assert not failures.is_visible()
    tab.get_by_text("Failures: 2").click()
    assert failures.locator("li").count() == 2
    assert "in/empty.png is empty" in failures.inner_text()


@pytest.mark.parametrize("options", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}])
def test_accessible_by_axe(page: Callable[..., Any], options: dict[str, Any]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    tab = page(**options)
    for unfolded in (False, True):
        if unfolded:
            for summary in tab.locator("summary").all():
                summary.click()
        results = axe.Axe().run(tab)
        assert results.violations_count == 0, results.generate_report()
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_hostile_names_are_text(page: Callable[..., Any]) -> None:
    tab = page()
    names = tab.locator("#cards h3").all_text_contents()
    assert any(name.startswith("<img src=x onerror=alert(1)>\"'&\\n\\udcff<") for name in names), names
    assert "<script>alert(2)<_script>.jpg" in names
    assert tab.locator("#cards img").count() == 10
    blocked = tab.evaluate(
        "() => new Promise(done => { addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));"
        " new Image().src = 'file:///nowhere.png'; })"
    )
    assert blocked == "img-src"
