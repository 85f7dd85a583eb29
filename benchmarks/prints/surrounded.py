"""Black-and-white photographs in surroundings that have colours: each is made from a photograph and a generator of chances."""

import cv2
import numpy as np

from benchmarks.prints.parts import (
    INKS,
    MOUNTS,
    PAPERS,
    TONES,
    FloatArray,
    Maker,
    Rng,
    around,
    choice,
    inked,
    paper,
    put_on,
    toned,
    wood,
)


def plain(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A print of one tone and nothing else."""
    return toned(photograph, rng)


def on_paper(photograph: FloatArray, rng: Rng) -> FloatArray:
    """On yellowed paper, with margins."""
    return put_on(toned(photograph, rng), choice(PAPERS, rng), (0.02, 0.16), rng)


def same_paper(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A sepia print whose margins have its own white."""
    return put_on(toned(photograph, rng, "sepia"), np.array(TONES["sepia"][2], np.float32), (0.04, 0.14), rng)


def with_rule(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A thin rule around it, red for example, and often paper around that."""
    ruled = put_on(
        toned(photograph, rng), choice([(200, 30, 30), (30, 50, 150), (190, 150, 50)], rng), (0.008, 0.02), rng, even=True
    )
    return ruled if rng.random() < 0.5 else put_on(ruled, choice(PAPERS, rng), (0.03, 0.1), rng)


def on_mount(photograph: FloatArray, rng: Rng) -> FloatArray:
    """On coloured cardboard, often with a white line between."""
    mounted = toned(photograph, rng)
    if rng.random() < 0.5:
        mounted = put_on(mounted, np.array((240, 236, 226), np.float32), (0.01, 0.03), rng, even=True)
    return put_on(mounted, choice(MOUNTS, rng), (0.06, 0.22), rng)


def double_mount(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Two cardboards of different colours."""
    inner = put_on(toned(photograph, rng), choice(PAPERS, rng), (0.02, 0.06), rng, even=True)
    return put_on(inner, choice(MOUNTS, rng), (0.06, 0.15), rng)


def in_frame(photograph: FloatArray, rng: Rng) -> FloatArray:
    """In a wooden frame, often with a mat between."""
    inner = toned(photograph, rng)
    if rng.random() < 0.5:
        inner = put_on(inner, choice(PAPERS, rng), (0.03, 0.1), rng, even=True)
    sheet, rows, columns = around(inner, (0.05, 0.13), rng, even=True)
    sheet[...] = wood(sheet.shape[:2], rng)
    left = np.ascontiguousarray(np.rot90(wood(sheet.shape[1::-1], rng)))
    sheet[:, : columns.start], sheet[:, columns.stop :] = left[:, : columns.start], left[:, columns.stop :]
    sheet[rows, columns] = inner
    return sheet


def oval_mount(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Behind an oval hole in coloured cardboard."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    hole = np.zeros((height, width), np.uint8)
    share = rng.uniform(0.4, 0.48, 2)
    cv2.ellipse(
        hole, (width // 2, height // 2), (round(share[0] * width), round(share[1] * height)), 0, 0, 360, 255, -1, cv2.LINE_AA
    )
    mount = paper((height, width), choice(MOUNTS + PAPERS, rng), rng)
    return np.asarray(np.where(hole[..., None] > 127, picture, mount), np.float32)


def on_table(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Lying a little askew on a wooden table, or on cloth."""
    inner = put_on(toned(photograph, rng), choice(PAPERS, rng), (0.01, 0.05), rng, even=True)
    height, width = inner.shape[:2]
    shape = round(1.25 * height), round(1.25 * width)
    table = wood(shape, rng) if rng.random() < 0.5 else paper(shape, choice(MOUNTS, rng), rng)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-4, 4), 1.0)
    turn[:, 2] += (shape[1] - width) / 2, (shape[0] - height) / 2
    there = cv2.warpAffine(np.ones((height, width), np.float32), turn, shape[::-1])[..., None]
    return np.asarray(there * cv2.warpAffine(inner, turn, shape[::-1]) + (1 - there) * table, np.float32)


def with_ruler(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A ruler along one side."""
    picture = toned(photograph, rng)
    height, width = picture.shape[:2]
    ruler = paper(
        (max(8, round(rng.uniform(0.06, 0.13) * height)), width),
        choice([(220, 180, 70), (190, 150, 90), (240, 210, 60)], rng),
        rng,
    )
    step = max(4, width // 60)
    for place in range(step, width, step):
        ruler[: len(ruler) // (2 if place % (5 * step) == 0 else 3), place : place + max(1, step // 5)] = 30
    return np.concatenate([picture, ruler] if rng.random() < 0.5 else [ruler[::-1], picture])


def two_on_page(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Two prints of different tones on one page."""
    tones = rng.permutation(list(TONES))[:2]
    size = photograph.shape[1] // 2, photograph.shape[0] // 2
    half = np.asarray(cv2.resize(photograph, size, interpolation=cv2.INTER_AREA), np.float32)
    first, second = toned(half, rng, tones[0]), toned(np.asarray(half[:, ::-1], np.float32), rng, tones[1])
    gap = rng.uniform(0.05, 0.15)
    height, width = half.shape[:2]
    page = paper((round(height * (1 + 2 * gap)), round(width * (2 + 3 * gap))), choice(PAPERS + MOUNTS, rng), rng)
    top = round(height * gap)
    for left, one in ((round(width * gap), first), (round(width * (1 + 2 * gap)), second)):
        page[top : top + height, left : left + width] = one
    return page


def side_by_side(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Two prints of different tones without a gap."""
    tones = rng.permutation(list(TONES))[:2]
    first, second = toned(photograph, rng, tones[0]), toned(np.asarray(photograph[:, ::-1], np.float32), rng, tones[1])
    return np.concatenate([first, second], axis=int(rng.integers(2)))


def sepia(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A sepia print without margins."""
    return toned(photograph, rng, "sepia")


def on_neutral(photograph: FloatArray, rng: Rng) -> FloatArray:
    """On white, grey, black or almost white cardboard."""
    colours = [(250.0, 250.0, 250.0), (128.0, 128.0, 128.0), (22.0, 22.0, 22.0), (240.0, 238.0, 232.0)]
    return put_on(toned(photograph, rng), choice(colours, rng), (0.04, 0.16), rng)


def paper_on_bed(photograph: FloatArray, rng: Rng) -> FloatArray:
    """On paper that lies on the bed of a scanner: its white or black lid, grey, red or brown cardboard."""
    sheet = put_on(toned(photograph, rng), choice(PAPERS, rng), (0.05, 0.14), rng)
    beds = [(250.0, 250.0, 249.0), (14.0, 14.0, 14.0), (128.0, 128.0, 128.0), (140.0, 30.0, 30.0), (110.0, 72.0, 40.0)]
    return put_on(sheet, choice(beds, rng), (0.05, 0.15), rng)


def on_transparency(photograph: FloatArray, rng: Rng) -> FloatArray:
    """A print, mostly with its paper, cut out: transparent around (H, W, 4)."""
    sheet = toned(photograph, rng)
    if rng.random() < 0.75:
        sheet = put_on(sheet, choice(PAPERS, rng), (0.05, 0.14), rng)
    page, rows, columns = around(sheet, (0.05, 0.15), rng)
    result = np.zeros((*page.shape[:2], 4), np.float32)
    result[rows, columns] = np.dstack([sheet, np.full(sheet.shape[:2], 255, np.float32)])
    return result


def album_page(photograph: FloatArray, rng: Rng) -> FloatArray:
    """Three prints of one tone and of different sizes on a dark page, held by cream paper corners."""
    picture, tone = photograph, str(rng.permutation(list(TONES))[0])
    height, width = picture.shape[:2]
    page = paper((round(1.5 * height), round(1.5 * width)), choice([(70, 52, 44), (44, 60, 52), (150, 130, 104)], rng), rng)
    for top, left, share in ((0.06, 0.06, 0.8), (0.08, 1.0, 0.42), (0.95, 0.2, 0.45)):
        size = round(share * width), round(share * height)
        one = toned(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32), rng, tone)
        side = max(3, min(size) // 14)
        ramp = np.add.outer(np.arange(size[1]), np.arange(size[0])) < side
        for corner in (ramp, ramp[::-1], ramp[:, ::-1], ramp[::-1, ::-1]):
            one[corner] = (232, 220, 190)
        y, x = round(top * height), round(left * width)
        page[y : y + size[1], x : x + size[0]] = one
    return page


def on_wallpaper(photograph: FloatArray, rng: Rng) -> FloatArray:
    """In a thin dark frame on striped wallpaper."""
    framed = put_on(toned(photograph, rng), np.array((50, 34, 24), np.float32), (0.02, 0.04), rng, even=True)
    sheet, rows, columns = around(framed, (0.1, 0.25), rng)
    stripes = (np.arange(sheet.shape[1]) // max(4, sheet.shape[1] // 30)) % 2
    first, second = choice(PAPERS, rng), choice(MOUNTS, rng)
    sheet[...] = np.where(stripes[None, :, None] == 0, first, second)
    sheet[rows, columns] = framed
    return sheet


def instant_frame(photograph: FloatArray, rng: Rng) -> FloatArray:
    """The frame of an instant photograph, yellowed, with a line of ink below."""
    sheet = put_on(toned(photograph, rng), choice(PAPERS, rng), (0.05, 0.07), rng, even=True)
    foot = np.repeat(sheet[-1:], round(0.18 * len(sheet)), axis=0)
    sheet = np.concatenate([sheet, foot])
    strokes = np.zeros(sheet.shape[:2], np.uint8)
    place = round(0.2 * sheet.shape[1]), round(0.95 * len(sheet))
    cv2.putText(strokes, "Summer 1971", place, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, sheet.shape[1] / 420, 255, 2, cv2.LINE_AA)
    return inked(sheet, strokes, choice(INKS, rng), 0.9)


KINDS: list[Maker] = [
    plain, on_paper, same_paper, with_rule, on_mount, double_mount, in_frame, oval_mount, on_table, with_ruler, two_on_page,
    side_by_side, sepia, on_neutral, paper_on_bed, on_transparency,
]  # fmt: skip
HELD_OUT: list[Maker] = [album_page, on_wallpaper, instant_frame]
