"""Black-and-white photographs with marks and stains: each is made from a photograph and a generator of chances."""

import cv2
import numpy as np

from benchmarks.prints.parts import INKS, PAPERS, Colour, FloatArray, Maker, Rng, choice, cloud, inked, paper, toned


def with_colour_strip(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A strip of colour patches, such as Kodak's, along one side: below the print, or on it."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    patches: list[Colour] = [
        (30, 160, 200),
        (40, 140, 60),
        (230, 210, 40),
        (200, 40, 40),
        (190, 50, 140),
        (255, 255, 255),
        (110, 70, 40),
        (20, 20, 20),
    ]
    strip = np.repeat(np.array(patches, np.float32)[None], max(6, round(rng.uniform(0.05, 0.1) * height)), 0)
    strip = np.asarray(cv2.resize(strip, (round(rng.uniform(0.4, 0.95) * width), len(strip)), interpolation=cv2.INTER_NEAREST))
    if rng.random() < 0.5:
        picture = np.concatenate(
            [picture, paper((round(1.5 * len(strip)), width), choice([*PAPERS, (230, 230, 230), (40, 40, 40)], rng), rng)]
        )
    left, top = (picture.shape[1] - strip.shape[1]) // 2, len(picture) - len(strip) - max(1, len(strip) // 4)
    picture[top : top + len(strip), left : left + strip.shape[1]] = strip
    return picture


def with_postage_stamp(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A postage stamp in a corner."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    h, w = (max(10, round(rng.uniform(*share) * min(height, width))) for share in ((0.14, 0.22), (0.11, 0.18)))
    stamp = np.full((h, w, 3), 240, np.float32)
    edge = max(1, w // 12)
    colour = choice([*INKS, (200, 90, 40), (60, 120, 60)], rng)
    stamp[edge:-edge, edge:-edge] = colour * (0.8 + 0.3 * cloud((h - 2 * edge, w - 2 * edge), rng)[..., None])
    top, left = round(rng.uniform(0.01, 0.06) * height), round(rng.uniform(0.01, 0.06) * width)
    picture[top : top + h, width - left - w : width - left] = stamp
    return picture


def with_ink_stamp(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A rubber stamp: a ring, or a box, with words."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    side = min(height, width)
    strokes, thick = np.zeros((height, width), np.uint8), max(1, round(side * rng.uniform(0.006, 0.014)))
    x, y, radius = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height, rng.uniform(0.09, 0.18) * side
    if rng.random() < 0.5:
        cv2.circle(strokes, (round(x), round(y)), round(radius), 255, thick, cv2.LINE_AA)
    else:
        corners = (round(x - 1.4 * radius), round(y - radius / 2)), (round(x + 1.4 * radius), round(y + radius / 2))
        cv2.rectangle(strokes, *corners, 255, thick, cv2.LINE_AA)
    word = ["ATELIER", "PROOF", "1923", "ARCHIV"][rng.integers(4)]
    cv2.putText(
        strokes,
        word,
        (round(x - 0.85 * radius), round(y + 0.1 * radius)),
        cv2.FONT_HERSHEY_DUPLEX,
        radius / 75,
        255,
        thick,
        cv2.LINE_AA,
    )
    return inked(picture, strokes, choice(INKS, rng), rng.uniform(0.6, 0.95))


def with_date(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Orange digits of a camera's date in the corner."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    strokes, scale = np.zeros((height, width), np.uint8), width / rng.uniform(600, 900)
    place = round(width * 0.72), round(height * 0.93)
    cv2.putText(strokes, "'94 7 23", place, cv2.FONT_HERSHEY_DUPLEX, scale, 255, max(1, round(2 * scale)), cv2.LINE_AA)
    share = strokes.astype(np.float32)[..., None] / 255
    return np.asarray(picture * (1 - share) + share * choice([(255, 140, 40), (240, 90, 40)], rng), np.float32)


def with_writing(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Lines of a pen across it."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    strokes, side = np.zeros((height, width), np.uint8), min(height, width)
    x = np.linspace(0.1, rng.uniform(0.5, 0.9), 160)
    for line in range(rng.integers(1, 4)):
        y = (
            rng.uniform(0.1, 0.9)
            + 0.02 * np.sin(90 * x + line)
            + 0.012 * np.sin(171 * x)
            + 0.01 * np.cumsum(rng.normal(0, 0.3, 160))
        )
        points = np.stack([x * width + 0.012 * width * np.cos(90 * x), y * height], 1).round().astype(np.int32)
        cv2.polylines(strokes, [points[:, None]], False, 255, max(1, round(side * rng.uniform(0.004, 0.008))), cv2.LINE_AA)
    return inked(picture, strokes, choice(INKS, rng), 0.85)


def _stained(picture: FloatArray, amount: FloatArray, rng: Rng) -> FloatArray:
    """Brown where ``amount`` (H, W), 0..1, says so."""
    taken = np.array((0.08, 0.25, 0.5), np.float32) * rng.uniform(0.5, 1.3)
    return np.asarray(picture * (1 - np.clip(amount, 0, 1)[..., None] * taken), np.float32)


def _spots(shape: tuple[int, int], count: int, size: tuple[float, float], rng: Rng) -> FloatArray:
    """Soft round spots (H, W), 0..1; ``size``: their radius as a share of the short side, from and to."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    amount: FloatArray = np.zeros(shape, np.float32)
    for _ in range(count):
        radius, a, b = rng.uniform(*size) * min(shape), rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        amount += rng.uniform(0.5, 1) * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * radius**2))
    return amount


def foxed(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Many small brown spots."""
    picture = toned(photograph, rng)
    return _stained(picture, _spots(picture.shape[:2], int(rng.integers(8, 40)), (0.005, 0.02), rng), rng)


def stained(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A few large soft brown stains."""
    picture = toned(photograph, rng)
    return _stained(picture, _spots(picture.shape[:2], int(rng.integers(2, 6)), (0.06, 0.16), rng), rng)


def tea_ring(photograph: FloatArray, rng: Rng) -> FloatArray:
    """The ring that a cup left, darker at its rim."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away = np.hypot(x - rng.uniform(0.3, 0.7) * width, y - rng.uniform(0.3, 0.7) * height) / min(height, width)
    radius = rng.uniform(0.15, 0.3)
    amount = 0.8 * np.exp(-(((away - radius) / 0.012) ** 2)) + 0.25 / (1 + np.exp(np.minimum((away - radius) / 0.01, 50)))
    return _stained(picture, amount.astype(np.float32), rng)


def taped(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Old adhesive tape, yellow and clear, across the corners or a tear."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    tape = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 4)):
        a, b = rng.uniform(0, width), (0.0, float(height))[rng.integers(2)]
        box = cv2.boxPoints(((a, b), (rng.uniform(0.2, 0.5) * width, 0.08 * height), rng.uniform(-50, 50)))
        cv2.fillPoly(tape, [box.round().astype(np.int32)], 1.0, cv2.LINE_8)
    return np.asarray(picture * (1 - tape[..., None] * np.array((0.04, 0.12, 0.36), np.float32)), np.float32)


def wet_edge(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Once wet on one side: browner there, with a dark line where the water ended."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    line = (0.2 + 0.05 * np.sin(x / width * 9 + rng.uniform(0, 6)) + 0.03 * np.sin(x / width * 23)) * height
    inside = 1 / (1 + np.exp(np.clip((y - line) / (0.004 * height), -50, 50)))
    amount = 0.35 * inside + 0.5 * np.exp(-(((y - line) / (0.008 * height)) ** 2))
    return _stained(picture, amount.astype(np.float32), rng)


def fading(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Sepia on one side, grey on the other."""
    height, width = photograph.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.array([height, width], np.float32)[:, None, None]
    angle = rng.uniform(0, 2 * np.pi)
    share = np.clip(0.5 + rng.uniform(0.7, 1.4) * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)), 0, 1)[..., None]
    tone = ["sepia", "sepia", "cyanotype"][rng.integers(3)]
    return np.asarray(share * toned(photograph, rng, tone) + (1 - share) * toned(photograph, rng, "neutral"), np.float32)


def golden_corner(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Yellowed in one corner."""
    picture = toned(photograph, rng, ["neutral", "sepia", "warm"][rng.integers(3)])
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32) / np.array([height, width], np.float32)[:, None, None]
    away = np.hypot(x - rng.integers(2), y - rng.integers(2)) / rng.uniform(0.3, 0.8)
    return np.asarray(picture * (1 - np.exp(-(away**2))[..., None] * np.array((0, 0.12, 0.4), np.float32)), np.float32)


def light_leak(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Orange along one side, as yellowing behind a frame leaves it."""
    picture = toned(photograph, rng)
    width = picture.shape[1]
    share = np.exp(-((np.arange(width) / width / rng.uniform(0.08, 0.2)) ** 2)).astype(np.float32)
    return np.asarray(picture * (1 - share[None, :, None] * np.array((0.02, 0.16, 0.42), np.float32)), np.float32)


KINDS: list[Maker] = [
    with_colour_strip, with_postage_stamp, with_ink_stamp, with_date, with_writing, foxed, stained, tea_ring, taped, fading,
    golden_corner,
]  # fmt: skip
HELD_OUT: list[Maker] = [wet_edge, light_leak]
