"""Decoded images become a backbone's input: uint8 or uint16 [H, W, C] on the host."""

import dataclasses
import importlib.resources

import numpy as np
from PIL import Image

from tl_pipeline.arrays import array_digest
from tl_pipeline.data.decoding import DecodeError, decode_image
from tl_pipeline.preprocess import DEEP, ImagePreprocess

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def preprocess_image(image: Image.Image, preprocess: ImagePreprocess) -> np.ndarray:
    """Converts the color, resizes and crops.

    Scaling, mean and standard deviation are applied later, on the device.

    Args:
      image: What `decode_image` returned: mode `L` or `RGB`, or of a deep one `I;16`.
      preprocess: What the backbone wants.

    Returns:
      [H, W, C] of `preprocess.dtype`, contiguous and the caller's own.

    Raises:
      DecodeError: The image is to be taken as it is, and has another size.

    Reference:
      Sizes and the crop's place are torchvision's (`Resize`, `CenterCrop`).
    """
    height, width = preprocess.size
    mode = "L" if preprocess.color == "gray" else "RGB"
    if image.mode == "I;16":  # resized as floats, which Pillow does not round
        image = Image.fromarray(np.asarray(image, np.float32))
    elif image.mode != mode:
        image = image.convert(mode)
    if preprocess.resize == "short":
        assert preprocess.resize_size is not None
        box = _center_box(image.size, preprocess.resize_size, (width, height))
    elif preprocess.resize == "exact":
        box = (0.0, 0.0, float(image.width), float(image.height))
    elif image.size == (width, height):
        return _to_array(image, preprocess)
    else:
        raise DecodeError(
            f"it is {image.width} × {image.height} pixels; this backbone takes "
            f"{width} × {height} as they are"
        )
    resampling = _RESAMPLING[preprocess.interpolation]
    resized = image.resize((width, height), resampling, box, reducing_gap=None)
    return _to_array(resized, preprocess)


def preprocessing_fingerprint(preprocess: ImagePreprocess) -> str:
    """Returns the SHA-256 of a few packaged pictures after preprocessing.

    A library that changes pixels changes it, a harmless upgrade does not. Where images
    are taken as they are, so are the pictures, whatever their size.

    Args:
      preprocess: What the backbone wants.
    """
    package = importlib.resources.files("tl_pipeline.data")
    files = list((package / "fingerprint").iterdir())
    deep = preprocess.decoder == DEEP
    if deep:
        files += (package / "fingerprint_16").iterdir()
    arrays = {}
    for file in files:
        if file.name.startswith("."):
            continue
        image = decode_image(file.read_bytes(), deep=deep)
        fitting = preprocess
        if preprocess.resize == "none":
            size = (image.height, image.width)
            fitting = dataclasses.replace(preprocess, size=size)
        arrays[file.name] = preprocess_image(image, fitting)
    assert arrays, "the packaged pictures are missing"
    return array_digest(arrays)


def _center_box(
    size: tuple[int, int], short: int, crop: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Returns what of the source becomes the center crop of the resized image.

    Resampling that part alone saves a third of the work, and an image a million times
    as long as wide costs no more than another. The pixels are those of resizing all and
    then cropping, to 1 of 255 (more where bicubic or lanczos overshoot white or black,
    which Pillow clips between its two passes; nearest may break ties otherwise).
    """
    resized = [short * side // min(size) for side in size]
    box = []
    for side, to, cropped in zip(size, resized, crop, strict=True):
        start = int(round((to - cropped) / 2.0))
        box += [start * side / to, (start + cropped) * side / to]
    left, right, top, bottom = box
    return left, top, right, bottom


def _to_array(image: Image.Image, preprocess: ImagePreprocess) -> np.ndarray:
    array = np.array(image)
    if image.mode == "F":
        array = np.rint(np.clip(array, 0, 65535)).astype(np.uint16)
        if preprocess.channels == 3:
            array = np.repeat(array[..., None], 3, axis=-1)
    elif preprocess.decoder == DEEP:
        array = array.astype(np.uint16) * np.uint16(257)
    if preprocess.color == "gray":
        return array[..., None]
    if preprocess.color == "bgr":
        return np.ascontiguousarray(array[..., ::-1])
    return array
