"""Where the network cannot know colours, it stays near grey: print, drawings, maps, night skies, X-rays, microscopy.

The pictures are drawn here, in another way than `training.datasets.colourless` draws them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from colorize_run import Colorizer
from colorize_run.colour import srgb_to_lab
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"
SIZE = 640, 480
TEXT = (
    "The committee met on the ninth of March and read the minutes of the last meeting, which were approved. The treasurer"
    " reported that the roof of the hall needs repair before winter. It was resolved to ask three builders for their price."
)


def _printed_page(columns: int) -> Image.Image:
    page, font = Image.new("L", SIZE, 235), ImageFont.load_default(15 if columns == 1 else 11)
    draw, words, at = ImageDraw.Draw(page), (TEXT + " ") * 40, 0
    width = SIZE[0] // columns
    for column in range(columns):
        for y in range(20, SIZE[1] - 20, 20):
            length = (width - 30) // (8 if columns == 1 else 6)
            draw.text((column * width + 15, y), words[at : at + length], 30, font)
            at += length
    return page


def text_page() -> Image.Image:
    return _printed_page(1)


def newspaper() -> Image.Image:
    page = _printed_page(3)
    photograph = halftone().resize((300, 200), Image.Resampling.LANCZOS)
    page.paste(photograph, (170, 130))
    ImageDraw.Draw(page).text((120, 20), "HALL TO BE REPAIRED", 10, ImageFont.load_default(36))
    return page


def halftone() -> Image.Image:
    """A street scene's stand-in, a photograph, as dots on a grid of 6 pixels."""
    grey = np.asarray(ImageOps.fit(Image.open(SAMPLES / "rocket.jpg").convert("L"), SIZE), np.float32) / 255
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    screen = 0.5 + 0.25 * (np.cos((x + y) * np.pi / 6) + np.cos((x - y) * np.pi / 6))
    return Image.fromarray(np.where(grey > screen, 240, 25).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def line_art() -> Image.Image:
    """A house, a tree and the sun, in ink."""
    sheet = Image.new("L", SIZE, 250)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((120, 220, 360, 420), outline=0, width=3)
    draw.polygon([(100, 220), (240, 110), (380, 220)], outline=0, width=3)
    for box in ((150, 260, 210, 310), (270, 260, 330, 310), (215, 330, 265, 420)):
        draw.rectangle(box, outline=0, width=2)
    draw.line((500, 420, 500, 280), fill=0, width=4)
    for radius in (90, 70, 45):
        draw.ellipse((500 - radius, 230 - radius, 500 + radius, 230 + radius), outline=0, width=2)
    draw.arc((560, 30, 620, 90), 0, 360, fill=0, width=2)
    draw.line((0, 420, 640, 425), fill=0, width=3)
    return sheet


def town_map() -> Image.Image:
    """Streets, a river, blocks, and names."""
    sheet, rng = Image.new("L", SIZE, 232), np.random.default_rng(3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for x in range(0, 640, 80):
        for y in range(0, 480, 60):
            draw.rectangle((x + 6, y + 6, x + 74, y + 54), fill=int(rng.integers(200, 228)), outline=120)
    river = [(x, 240 + 60 * np.sin(x / 90)) for x in range(0, 650, 10)]
    draw.line(river, fill=175, width=26)
    for name, place in (
        ("Station Road", (90, 62)),
        ("Church Lane", (330, 122)),
        ("Mill Street", (410, 362)),
        ("River", (250, 270)),
    ):
        draw.text(place, name, 20, font)
    return sheet


def night_sky() -> Image.Image:
    rng = np.random.default_rng(4)
    sky = rng.normal(9, 3, SIZE[::-1])
    for _ in range(700):
        x, y, light = int(rng.integers(640)), int(rng.integers(480)), 40 + 200 * rng.random() ** 6
        sky[y, x] += light
        sky[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] += light / 5
    y, x = np.mgrid[:480, :640]
    sky += 45 * np.exp(-(((x + y - 560) / 90) ** 2)) * (1 + 0.3 * rng.normal(size=sky.shape))  # the Milky Way
    return Image.fromarray(sky.clip(0, 255).astype(np.uint8))


def chest_xray() -> Image.Image:
    """Two dark lungs, ribs, a spine and a heart."""
    film = Image.new("L", SIZE, 150)
    draw = ImageDraw.Draw(film)
    for left in (130, 350):
        draw.ellipse((left, 60, left + 160, 420), fill=45)
    draw.ellipse((270, 230, 430, 420), fill=165)
    draw.rectangle((305, 0, 335, 480), fill=190)
    film = film.filter(ImageFilter.GaussianBlur(9))
    ribs = Image.new("L", SIZE, 0)
    for y in range(70, 420, 45):
        for box, start, end in (((80, y - 40, 310, y + 60), 180, 330), ((330, y - 40, 560, y + 60), 210, 360)):
            ImageDraw.Draw(ribs).arc(box, start, end, fill=60, width=12)
    return ImageChops.add(film, ribs.filter(ImageFilter.GaussianBlur(3)))


def blood_cells() -> Image.Image:
    """Discs with a lighter middle on a light ground, as under a microscope."""
    rng, film = np.random.default_rng(5), Image.new("L", SIZE, 205)
    draw = ImageDraw.Draw(film)
    for _ in range(90):
        x, y, r = int(rng.integers(640)), int(rng.integers(480)), int(rng.integers(20, 30))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=150, outline=120, width=2)
        draw.ellipse((x - r // 3, y - r // 3, x + r // 3, y + r // 3), fill=180)
    return film.filter(ImageFilter.GaussianBlur(1.5))


def electron_micrograph() -> Image.Image:
    """Crystals' faces under raking light."""
    rng = np.random.default_rng(6)
    centres = rng.random((60, 2)) * SIZE
    y, x = np.mgrid[:480, :640]
    distance = np.hypot(x[..., None] - centres[:, 0], y[..., None] - centres[:, 1])
    shade = rng.uniform(60, 190, 60)[distance.argmin(axis=2)] + 0.5 * distance.min(axis=2)
    return Image.fromarray((shade + rng.normal(0, 8, shade.shape)).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(device="cpu")


@pytest.mark.parametrize(
    "draw",
    [text_page, newspaper, halftone, line_art, town_map, night_sky, chest_xray, blood_cells, electron_micrograph],
)
def test_pictures_that_have_no_colours_stay_near_grey(colorizer: Colorizer, draw: Callable[[], Image.Image]) -> None:
    coloured = np.asarray(colorizer.colorize(draw()), np.float32) / np.float32(255)
    chroma = np.linalg.norm(srgb_to_lab(coloured)[..., 1:], axis=2)
    assert chroma.mean() < 6
    patches = chroma.reshape(15, 32, 20, 32).mean(axis=(1, 3))  # of 32 x 32 pixels
    assert patches.max() < 20
