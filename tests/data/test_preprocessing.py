import dataclasses
import importlib.resources
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tl_pipeline.data.decoding import DecodeError, decode_image
from tl_pipeline.data.preprocessing import preprocess_image, preprocessing_fingerprint
from tl_pipeline.preprocess import INTERPOLATIONS, ImagePreprocess

SHORT = ImagePreprocess(
    color="rgb",
    resize="short",
    resize_size=64,
    size=(56, 48),
    interpolation="bilinear",
    scale=1 / 255,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
EXACT = dataclasses.replace(SHORT, resize="exact", resize_size=None)
NONE = dataclasses.replace(SHORT, resize="none", resize_size=None)


def make_image(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng([1, width, height])
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    ImageDraw.Draw(image).ellipse((2, 2, width - 2, height // 2), fill=(200, 30, 90))
    return image


def in_gray(preprocess: ImagePreprocess) -> ImagePreprocess:
    return dataclasses.replace(preprocess, color="gray", mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    "size", [(301, 200), (200, 301), (64, 64), (63, 40), (20, 90), (999, 65)]
)
def test_short_equals_resizing_all_and_then_cropping(
    interpolation: str, size: tuple[int, int]
):
    # Away from black and white, where Pillow clips between its two passes, which it
    # may take in another order.
    image = make_image(*size).point(lambda value: 64 + value // 2)
    # torchvision's Resize and CenterCrop, written out.
    short, long = min(size), max(size)
    to = [64 if side == short else int(64 * long / short) for side in size]
    whole = image.resize(to, Image.Resampling[interpolation.upper()])
    left, top = (int(round((to[0] - 48) / 2.0)), int(round((to[1] - 56) / 2.0)))
    wanted = np.asarray(whole.crop((left, top, left + 48, top + 56)))
    preprocess = dataclasses.replace(SHORT, interpolation=interpolation)
    got = preprocess_image(image, preprocess)
    assert got.shape == (56, 48, 3) and got.dtype == np.uint8
    difference = np.abs(got.astype(int) - wanted)
    if interpolation == "nearest":  # a center that falls on an edge may go either way
        assert (difference > 0).mean() < 0.05
    else:
        assert difference.max() <= 1


def test_reducing_averages_over_what_is_covered():
    stripes = np.zeros((96 * 4, 96 * 4, 3), np.uint8)
    stripes[:, ::2] = 255
    got = preprocess_image(Image.fromarray(stripes), EXACT)
    assert got.min() >= 120 and got.max() <= 135  # without averaging: 0 or 255


def test_exact_ignores_the_aspect():
    image = make_image(301, 200)
    wanted = np.asarray(image.resize((48, 56), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(preprocess_image(image, EXACT), wanted)


def test_none_takes_the_size_as_it_is_and_no_other():
    image = make_image(48, 56)
    np.testing.assert_array_equal(preprocess_image(image, NONE), np.asarray(image))
    with pytest.raises(DecodeError, match="it is 56 × 48 pixels; .* takes 48 × 56 as"):
        preprocess_image(make_image(56, 48), NONE)


def test_bgr_is_rgb_reversed_and_gray_has_one_channel():
    image = make_image(48, 56)
    bgr = preprocess_image(image, dataclasses.replace(NONE, color="bgr"))
    np.testing.assert_array_equal(bgr, np.asarray(image)[..., ::-1])
    assert bgr.flags.c_contiguous
    gray = preprocess_image(image, in_gray(NONE))
    luma = np.asarray(image) @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    assert gray.shape == (56, 48, 1) and np.abs(gray[..., 0] - luma).max() <= 1


def test_gray_images_have_three_equal_channels_in_rgb():
    image = make_image(48, 56).convert("L")
    got = preprocess_image(image, NONE)
    np.testing.assert_array_equal(got, np.dstack([np.asarray(image)] * 3))
    np.testing.assert_array_equal(
        preprocess_image(image, in_gray(NONE))[..., 0], np.asarray(image)
    )


def test_the_result_is_the_callers_own():
    image = make_image(48, 56)
    preprocess_image(image, NONE)[:] = 0
    assert np.asarray(image).any()


def test_an_extreme_aspect_costs_no_more_than_another():
    # Resized whole, this would be 64 × 57,600,000 pixels.
    image = Image.new("RGB", (1, 900_000), "red")
    assert (preprocess_image(image, SHORT) == [255, 0, 0]).all()
    assert (preprocess_image(image, EXACT) == [255, 0, 0]).all()


def test_threads_get_what_one_gets():
    files = []
    for n in range(8):
        file = io.BytesIO()
        make_image(100 + n, 80).save(file, "JPEG")
        files.append(file.getvalue())

    def load(data: bytes) -> bytes:
        return preprocess_image(decode_image(data), SHORT).tobytes()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, files * 5)) == [load(data) for data in files] * 5


CHANGES = {
    "color": {"color": "bgr"},
    "interpolation": {"interpolation": "bicubic"},
    "resize": {"resize": "exact", "resize_size": None},
    "resize_size": {"resize_size": 65},
    "size": {"size": (48, 56)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_fingerprint_changes_with_the_pixels(change: str):
    changed = dataclasses.replace(SHORT, **CHANGES[change])
    assert preprocessing_fingerprint(changed) != preprocessing_fingerprint(SHORT)
    assert preprocessing_fingerprint(SHORT) == preprocessing_fingerprint(SHORT)


def test_the_fingerprint_is_of_every_packaged_picture_and_of_pixels_alone():
    scaled = dataclasses.replace(SHORT, scale=1.0, mean=(1.0, 2.0, 3.0))
    assert preprocessing_fingerprint(scaled) == preprocessing_fingerprint(SHORT)
    as_they_are = preprocessing_fingerprint(in_gray(NONE))
    other_size = dataclasses.replace(in_gray(NONE), size=(16, 16))
    assert preprocessing_fingerprint(other_size) == as_they_are


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_a_decoder_that_changes_one_pixel_changes_the_fingerprint(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    before = preprocessing_fingerprint(NONE)

    def decode_otherwise(data: bytes, *, deep: bool) -> Image.Image:
        image = decode_image(data, deep=deep).copy()
        if Image.open(io.BytesIO(data)).format == kind:
            box = image.getpixel((3, 3))
            image.putpixel(
                (3, 3), box ^ 1 if image.mode == "L" else (box[0] ^ 1, *box[1:])
            )
        return image

    monkeypatch.setattr("tl_pipeline.data.preprocessing.decode_image", decode_otherwise)
    assert preprocessing_fingerprint(NONE) != before


def test_the_packaged_pictures_cover_the_decoders_paths():
    folder = importlib.resources.files("tl_pipeline.data") / "fingerprint"
    pictures = [Image.open(io.BytesIO(f.read_bytes())) for f in folder.iterdir()]
    seen = {(picture.format, picture.mode) for picture in pictures}
    assert seen >= {("JPEG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"), ("GIF", "P")}
    assert any(picture.info.get("progressive") for picture in pictures)
    assert any(picture.getexif().get(0x0112) == 6 for picture in pictures)
    assert max(min(picture.size) for picture in pictures) >= 400  # reducing shows
    assert sum(len(f.read_bytes()) for f in folder.iterdir()) < 16_000


DEEP_16 = dataclasses.replace(in_gray(SHORT), decoder="pillow-16")


def test_16_bits_pass_through_the_resizing():
    rows = np.arange(4096, dtype=np.uint16).reshape(64, 64) + 1000  # 17 of 256 levels
    image = Image.fromarray(rows)
    deep = dataclasses.replace(DEEP_16, resize="none", resize_size=None, size=(64, 64))
    same = preprocess_image(image, deep)
    assert same.dtype == np.uint16
    np.testing.assert_array_equal(same[..., 0], rows)
    half = dataclasses.replace(deep, resize="exact", size=(32, 32))
    small = preprocess_image(image, half)
    means = rows.reshape(32, 2, 32, 2).mean((1, 3))
    # Antialiasing weighs four pixels an axis; on a slope that is the mean.
    np.testing.assert_allclose(small[1:-1, 1:-1, 0], means[1:-1, 1:-1], atol=0.51)


def test_8_bits_are_257_times_as_much_where_16_are_wanted():
    image = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    plain = dataclasses.replace(in_gray(NONE), size=(16, 16))
    deep = dataclasses.replace(plain, decoder="pillow-16")
    np.testing.assert_array_equal(
        preprocess_image(image, deep), preprocess_image(image, plain).astype(int) * 257
    )


def test_deep_gray_fills_all_three_colors():
    rows = np.arange(256, dtype=np.uint16).reshape(16, 16) * 99
    deep = dataclasses.replace(NONE, size=(16, 16), decoder="pillow-16")
    array = preprocess_image(Image.fromarray(rows), deep)
    np.testing.assert_array_equal(array, np.dstack([rows] * 3))


def test_the_fingerprint_of_a_deep_decoder_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
):
    plain = dataclasses.replace(DEEP_16, decoder="pillow")
    before = preprocessing_fingerprint(DEEP_16)
    assert preprocessing_fingerprint(plain) != before

    def decode_otherwise(data: bytes, *, deep: bool) -> Image.Image:
        image = decode_image(data, deep=deep)
        if image.mode == "I;16":
            image = Image.fromarray(np.asarray(image) ^ 1)
        return image

    monkeypatch.setattr("tl_pipeline.data.preprocessing.decode_image", decode_otherwise)
    assert preprocessing_fingerprint(DEEP_16) != before
