"""Makes the pictures that `preprocessing_fingerprint` is taken over.

They were made once, with Pillow 13.0.0, and are part of the package: making them anew
with another Pillow changes their bytes, and so every store's digest.

    python tests/golden/make_fingerprint_pictures.py tl_pipeline/data/fingerprint
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def make_waves(height: int, width: int) -> np.ndarray:
    """Returns [H, W, 3] uint8: waves whose length differs by place and channel."""
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(x * y), np.cos(x * x - y), np.sin(3 * y + x)]
    return np.stack([np.rint(127.5 * (1 + wave)) for wave in waves], -1).astype("uint8")


def main(folder: Path) -> None:
    """Writes the pictures into a folder."""
    rng = np.random.default_rng([0, 1])
    folder.mkdir(parents=True, exist_ok=True)
    # Larger than any input, so that reducing shows; few coefficients, so it is small.
    large = Image.fromarray(make_waves(96, 128)).resize((520, 400))
    large.save(folder / "large-subsampled.jpg", quality=20, subsampling=2)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    noise = rng.integers(0, 256, (21, 34, 3), np.uint8)
    Image.fromarray(noise).save(
        folder / "progressive-turned.jpg",
        quality=90,
        subsampling=0,
        progressive=True,
        exif=exif,
    )
    ramp = np.linspace(0, 255, 30 * 20).reshape(20, 30).astype(np.uint8)
    alpha = np.dstack([make_waves(20, 30), ramp])
    Image.fromarray(alpha).save(folder / "alpha.png")
    Image.fromarray(make_waves(33, 27)[..., 0]).save(folder / "gray.png")
    palette = Image.fromarray(make_waves(24, 24)).quantize(16)
    palette.save(folder / "palette.gif", transparency=3)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
