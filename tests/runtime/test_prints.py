"""Black-and-white prints in surroundings that have colours, and colour photographs: which are coloured, and where."""

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colorize_run import Colorizer, colour
from colorize_run.cli import main
from colorize_run.control import Control, Mask
from colorize_run.errors import OptionError
from colorize_run.hints import Hints, parse_hint
from PIL import Image, ImageDraw, ImageOps

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
TINY = DATA / "tiny.onnx"
NOTE = "keep their own colours"
PAPER, BOX = (238, 220, 170), (60, 40)  # the paper's colour; where the photograph lies on it
SIZE = (480, 360)


def photograph(size: tuple[int, int] = SIZE) -> Image.Image:
    """A grey photograph."""
    return Image.open(ROOT / "docs" / "samples" / "coffee.jpg").convert("L").resize(size)


def grain(image: Image.Image, strength: float = 2.0) -> Image.Image:
    noise = np.random.default_rng(0).normal(0, strength, (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image.convert("RGB")) + noise).clip(0, 255).astype(np.uint8))


def surrounded(inner: Image.Image, around: Image.Image) -> Image.Image:
    around.paste(inner, BOX)
    return around


def sheet(colour_of: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (SIZE[0] + 2 * BOX[0], SIZE[1] + 2 * BOX[1]), colour_of)


def wood() -> Image.Image:
    size = sheet(PAPER).size
    grain_of = np.random.default_rng(1).normal(1, 0.12, (size[1] // 3 + 1, 1)).repeat(3, axis=0)[: size[1]]
    return Image.fromarray(
        (grain_of[..., None] * np.array((140, 95, 52)) + np.zeros((1, size[0], 1))).clip(0, 255).astype(np.uint8)
    )


def with_rule() -> Image.Image:
    return ImageOps.expand(photograph().convert("RGB"), 8, (200, 30, 30))


def toned(dark: str, light: str) -> Image.Image:
    return ImageOps.colorize(photograph(), dark, light)


def two_tones() -> Image.Image:
    page = Image.new("RGB", (1060, 440), (120, 84, 50))
    page.paste(toned("#26180e", "#faeccd"), (40, 40))
    page.paste(toned("#08163c", "#ecf4f6"), (540, 40))
    return page


def stained() -> Image.Image:
    picture = np.asarray(photograph().convert("RGB"), np.float32)
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    places = ((90, 80, 30), (330, 240, 50), (420, 60, 28), (200, 300, 40))
    amount = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * r * r)) for a, b, r in places)
    return Image.fromarray((picture * (1 - np.clip(amount, 0, 1)[..., None] * (0.08, 0.25, 0.5))).clip(0, 255).astype(np.uint8))


def fading() -> Image.Image:
    share = Image.linear_gradient("L").rotate(90).resize(SIZE)
    return Image.composite(toned("#26180e", "#faeccd"), photograph().convert("RGB"), share)


def with_stamp() -> Image.Image:
    picture = photograph().convert("RGB")
    picture.paste((60, 60, 150), (400, 12, 465, 92))
    return picture


def with_ink() -> Image.Image:
    picture = photograph().convert("RGB")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((180, 120, 280, 220), outline=(160, 30, 50), width=4)
    draw.text((200, 162), "PROOF", fill=(160, 30, 50), font_size=22)
    return picture


PRINTS = {
    "paper": lambda: surrounded(photograph(), sheet(PAPER)),
    "sepia on cardboard": lambda: surrounded(toned("#26180e", "#faeccd"), sheet((60, 80, 130))),
    "wooden frame": lambda: surrounded(photograph(), wood()),
    "red rule": with_rule,
    "two tones": two_tones,
    "stamp": with_stamp,
    "ink": with_ink,
    "stains": stained,
    "fading": fading,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(main, [*arguments, "-m", str(TINY), "--device", "cpu", "--overwrite"])
    assert done.exit_code == 0, done.stderr
    return done


def ab(image: Image.Image) -> np.ndarray:
    return np.asarray(colour.srgb_to_lab(np.asarray(image.convert("RGB"), np.float32) / 255)[..., 1:])


def change(before: Image.Image, after: Image.Image) -> np.ndarray:
    """Distance in a*, b* (H, W)."""
    return np.linalg.norm(ab(after) - ab(before), axis=2)


def colorizer() -> Colorizer:
    return Colorizer(TINY, "cpu", 1)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kind", PRINTS)
def test_a_print_in_coloured_surroundings_is_coloured(folder: Path, kind: str, suffix: str) -> None:
    grain(PRINTS[kind]()).save(f"print.{suffix}", **({"quality": 85} if suffix == "jpg" else {}))
    done = run(f"print.{suffix}", "-o", f"out.{suffix}")
    assert "unchanged" not in done.stderr
    changed = change(Image.open(f"print.{suffix}"), Image.open(f"out.{suffix}"))
    height, width = changed.shape
    middle = changed[height // 4 : -height // 4, width // 4 : -width // 4]
    assert np.median(middle) > 2


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kind", ["paper", "sepia on cardboard", "wooden frame"])
@pytest.mark.parametrize("options", [[], ["--force"]])
def test_the_surroundings_keep_their_colours(folder: Path, kind: str, suffix: str, options: list[str]) -> None:
    grain(PRINTS[kind]()).save(f"print.{suffix}", **({"quality": 85} if suffix == "jpg" else {}))
    done = run(f"print.{suffix}", "-o", f"out.{suffix}", *options)
    assert NOTE in done.stderr
    before, after = Image.open(f"print.{suffix}"), Image.open(f"out.{suffix}")
    outside = np.ones((before.height, before.width), bool)
    outside[BOX[1] - 6 : 6 - BOX[1], BOX[0] - 6 : 6 - BOX[0]] = False
    moved = (ab(after) - ab(before))[outside]
    assert np.abs(moved.mean(axis=0)).max() < 1.5
    assert np.percentile(np.linalg.norm(moved, axis=1), 90) < (3 if suffix == "png" else 7)


def test_the_mark_of_a_stamp_keeps_its_colour(folder: Path) -> None:
    with_stamp().save("print.png")
    assert NOTE in run("print.png", "-o", "out.png").stderr
    changed = change(Image.open("print.png"), Image.open("out.png"))
    assert changed[24:80, 412:453].max() < 3
    assert np.median(changed[150:, :300]) > 2


def test_a_sepia_print_without_margins_is_coloured_everywhere(folder: Path) -> None:
    grain(toned("#26180e", "#faeccd")).save("print.png")
    assert NOTE not in run("print.png", "-o", "out.png").stderr


def colour_photograph() -> Image.Image:
    return Image.open(ROOT / "docs" / "samples" / "coffee.jpg").convert("RGB").resize(SIZE)


def with_red_car() -> Image.Image:
    picture = photograph().convert("RGB")
    ImageDraw.Draw(picture).ellipse((220, 180, 280, 215), fill=(200, 30, 40))
    return picture


def grey_below_red() -> Image.Image:
    picture = photograph().convert("RGB")
    picture.paste((200, 40, 40), (0, 0, SIZE[0], 140))
    return picture


def with_poster() -> Image.Image:
    """A colour photograph of a room, say, in which a grey print hangs."""
    picture = colour_photograph()
    picture.paste(ImageOps.expand(photograph((230, 170)), 5, 250), (120, 90))
    return picture


def blue_sky_over_sand() -> Image.Image:
    sky = np.linspace(0, 1, 200)[:, None, None] * (140, 105, 35) + (50, 110, 210)
    light = 0.5 + 0.5 * np.asarray(photograph((SIZE[0], 160)), np.float32)[..., None] / 255
    return Image.fromarray(np.concatenate([sky.repeat(SIZE[0], axis=1), light * (225, 190, 140)]).astype(np.uint8))


PHOTOGRAPHS = {
    "as it is": colour_photograph,
    "pale": lambda: Image.blend(colour_photograph(), colour_photograph().convert("L").convert("RGB"), 0.5),
    "white margins": lambda: surrounded(colour_photograph(), sheet((246, 245, 242))),
    "yellow margins": lambda: surrounded(colour_photograph(), sheet(PAPER)),
    "in a frame": lambda: surrounded(colour_photograph(), wood()),
    "one red thing": with_red_car,
    "one red side": grey_below_red,
    "with a poster": with_poster,
    "sky and sand": blue_sky_over_sand,
    "under water": lambda: ImageOps.colorize(photograph(), "#00202c", "#a0f0f8", "#0a8c96"),
}


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_a_colour_photograph_stays_as_it_is(folder: Path, kind: str, suffix: str) -> None:
    grain(PHOTOGRAPHS[kind]()).save(f"photo.{suffix}")
    assert "already has colours" in run(f"photo.{suffix}", "-o", f"out.{suffix}").stderr
    assert Path(f"out.{suffix}").read_bytes() == Path(f"photo.{suffix}").read_bytes()


def test_with_force_a_colour_photograph_gets_new_colours_everywhere(folder: Path) -> None:
    grain(PHOTOGRAPHS["yellow margins"]()).save("photo.png")
    assert NOTE not in run("photo.png", "--force", "-o", "out.png").stderr
    assert np.median(change(Image.open("photo.png"), Image.open("out.png"))[:20]) > 3


def test_python_gets_the_same_as_the_command_line(folder: Path) -> None:
    before = grain(PRINTS["paper"]())
    before.save("print.png")
    run("print.png", "-o", "out.png")
    assert (np.asarray(colorizer().colorize(before)) == np.asarray(Image.open("out.png"))).all()


def test_a_mask_decides_alone(folder: Path) -> None:
    before = grain(PRINTS["paper"]())
    mask = Image.new("L", before.size, 0)
    mask.paste(255, (300, 0, *before.size))
    mask.save("mask.png")
    changed = change(before, colorizer().colorize(before, Control(mask=Mask(Path("mask.png")))))
    assert changed[100:300, 80:290].max() < 2
    assert np.median(changed[100:300, 320:500]) > 2
    assert np.median(changed[:30, 320:]) > 3  # paper, where the mask is white


def test_blend_holds_besides() -> None:
    before = grain(PRINTS["paper"]())
    assert np.median(change(before, colorizer().colorize(before, Control(blend=0.0)))) < 1


@pytest.mark.parametrize(
    "share", [np.full((4, 4), 1.5, np.float32), np.full((4, 4), np.nan, np.float32), np.ones(4, np.float32)]
)
def test_a_share_that_is_no_share_is_refused(share: np.ndarray) -> None:
    with pytest.raises(OptionError, match="share"):
        Control(share=share)


BEDS = {"white": (250, 250, 249), "black": (14, 14, 14), "grey": (128, 128, 128), "red": (140, 30, 30), "transparent": None}


@pytest.mark.parametrize("tone", ["grey", "sepia"])
@pytest.mark.parametrize(
    ("bed", "suffix"), [(bed, suffix) for bed in BEDS for suffix in ("png", "jpg") if (bed, suffix) != ("transparent", "jpg")]
)
def test_paper_that_lies_on_a_bed_keeps_its_colour(folder: Path, bed: str, tone: str, suffix: str) -> None:
    inner = photograph().convert("RGB") if tone == "grey" else toned("#26180e", "#faeccd")
    before = grain(ImageOps.expand(ImageOps.expand(inner, 40, PAPER), 50, BEDS[bed] or (0, 0, 0)))
    if BEDS[bed] is None:
        opacity = Image.new("L", before.size, 0)
        opacity.paste(255, (50, 50, before.width - 50, before.height - 50))
        before.putalpha(opacity)
    before.save(f"print.{suffix}")
    assert NOTE in run(f"print.{suffix}", "-o", f"out.{suffix}").stderr
    moved = ab(Image.open(f"out.{suffix}")) - ab(Image.open(f"print.{suffix}"))
    for paper in (moved[58:84, 60:-60], moved[-84:-58, 60:-60], moved[60:-60, 58:84], moved[60:-60, -84:-58]):
        assert np.abs(paper.mean(axis=(0, 1))).max() < 1.5
    assert np.median(np.linalg.norm(moved[110:-110, 110:-110], axis=2)) > 2


@pytest.mark.parametrize("card", [(190, 190, 190), (250, 250, 250), (240, 238, 232)])
def test_neutral_cardboard_stays_as_it_is(folder: Path, card: tuple[int, int, int]) -> None:
    before = grain(surrounded(photograph(), sheet(card)))
    before.save("print.png")
    assert NOTE in run("print.png", "-o", "out.png").stderr
    moved = ab(Image.open("out.png")) - ab(before)
    assert np.abs(moved[:30].mean(axis=(0, 1))).max() < 1
    assert np.median(np.linalg.norm(moved[100:-100, 100:-100], axis=2)) > 2


def test_a_hint_on_the_paper_colours_it() -> None:
    before = PRINTS["paper"]()
    control = Control(hints=Hints([parse_hint("30,220,14=#3060c0")], None))
    after = Colorizer(DATA / "tiny-hints.onnx", "cpu", 1).colorize(before, control)
    changed = change(before, after)
    assert changed[220, 30] > 15
    assert np.median(changed[:30]) < 2


@pytest.mark.parametrize("orientation", [3, 6])
def test_surroundings_are_found_where_they_are_meant_to_be_seen(folder: Path, orientation: int) -> None:
    page = Image.new("RGB", (SIZE[0] + 20, SIZE[1] + 140), PAPER)
    page.paste(photograph(), (10, 10))  # margins as uneven as can be
    turned = page.transpose({3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned.save("print.jpg", exif=exif, quality=92)
    run("print.jpg", "-o", "out.jpg")
    after = ImageOps.exif_transpose(Image.open("out.jpg"))
    changed = change(page, after)
    assert np.median(changed[-120:-10]) < 3
    assert np.median(changed[20 : SIZE[1] - 20, 20:-20]) > 2


def test_every_frame_of_a_film_keeps_its_surroundings() -> None:
    first = PRINTS["paper"]()
    second = surrounded(ImageOps.mirror(photograph()), sheet(PAPER))
    file = io.BytesIO()
    first.save(file, "WEBP", save_all=True, append_images=[second], duration=100, lossless=True)
    data, result = colorizer().colorize_file(io.BytesIO(file.getvalue()))
    assert [note for note in result.notes if NOTE in note]
    with Image.open(io.BytesIO(data)) as film:
        for number, before in enumerate((first, second)):
            film.seek(number)
            changed = change(before, film)
            assert np.median(changed[:30]) < 2
            assert np.median(changed[60:-60, 80:-80]) > 2


def test_what_lies_under_transparency_does_not_count(folder: Path) -> None:
    picture = grey_below_red().convert("RGBA")
    alpha = Image.new("L", SIZE, 255)
    alpha.paste(0, (0, 0, SIZE[0], 140))
    picture.putalpha(alpha)
    picture.save("print.png")
    done = run("print.png", "-o", "out.png")
    assert "already has colours" not in done.stderr
    assert NOTE not in done.stderr


@pytest.mark.parametrize("pattern", ["columns", "one pixel", "nothing", "noise"])
@pytest.mark.parametrize("size", [(1, 1), (17, 40), (300, 200)])
def test_any_transparency_is_judged(pattern: str, size: tuple[int, int]) -> None:
    """Coloured or not, whatever is opaque: never a failure, and never other opacity."""
    picture, columns = colour_photograph().resize(size), np.arange(size[0]) % 2
    opacity = np.zeros(size[::-1], np.uint8)
    if pattern == "columns":
        opacity[:] = 255 * columns
    elif pattern == "one pixel":
        opacity[size[1] // 2, size[0] // 2] = 255
    elif pattern == "noise":
        opacity = np.random.default_rng(0).integers(0, 256, size[::-1]).astype(np.uint8)
    picture.putalpha(Image.fromarray(opacity))
    file = io.BytesIO()
    picture.save(file, "PNG")
    data, _ = colorizer().colorize_file(io.BytesIO(file.getvalue()), control=Control(keep_colour=True))
    assert (np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))[..., 3] == opacity).all()
