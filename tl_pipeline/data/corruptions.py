"""Corruptions of inputs: what cameras, networks and weather do, at five severities.

Reference:
  D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common
  Corruptions and Perturbations", ICLR 2019. Constants are ImageNet-C's, the blur's
  deviation scaled from 224 pixels to the input's shorter side; of inputs of less than
  `SMALL` pixels they are CIFAR-10-C's, whose inputs have 32.
"""

import io

import numpy as np
from PIL import Image

from tl_pipeline.errors import ConfigError

CORRUPTIONS = ("noise", "blur", "jpeg", "brightness", "contrast")
SEVERITIES = (1, 2, 3, 4, 5)
SMALL = 64  # pixels of the shorter side
# The deviation of values from 0 to 1; the deviation in pixels; the quality; what is
# added to the value of hue-saturation-value; the factor on the distance to the mean.
_IMAGENET_C = {
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "blur": (1, 2, 3, 4, 6),
    "jpeg": (25, 18, 15, 10, 7),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
}
_CIFAR_10_C = {
    "noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "blur": (0.4, 0.6, 0.7, 0.8, 1),
    "jpeg": (80, 65, 58, 50, 40),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
}


def corrupt(
    image: np.ndarray, name: str, severity: int, *, content: bytes
) -> np.ndarray:
    """Corrupts an input.

    Args:
      image: [H, W, C] uint8, RGB or gray.
      name: One of `CORRUPTIONS`.
      severity: 1 to 5.
      content: The example's content digest: it decides the noise, so that an example is
        always corrupted the same way.

    Returns:
      [H, W, C] uint8.

    Raises:
      ConfigError: An unknown corruption or severity.
    """
    check_corruption(name, severity)
    side = min(image.shape[:2])
    constants = _CIFAR_10_C if side < SMALL else _IMAGENET_C
    constant = constants[name][severity - 1]
    if name == "jpeg":
        return _compress(image, constant)
    values = image / np.float32(255)
    if name == "noise":
        rng = np.random.default_rng([*content[:8], severity])
        noise = rng.standard_normal(values.shape, np.float32)
        changed = values + np.float32(constant) * noise
    elif name == "blur":
        changed = _blur(values, constant if side < SMALL else constant * side / 224)
    elif name == "brightness":
        changed = _brighten(values, constant)
    else:
        mean = values.mean(axis=(0, 1), keepdims=True)
        changed = mean + (values - mean) * np.float32(constant)
    return np.round(np.clip(changed, 0, 1) * 255).astype(np.uint8)


def check_corruption(name: str, severity: int) -> None:
    """Raises `ConfigError` unless there is such a corruption and severity."""
    if name not in CORRUPTIONS:
        raise ConfigError(
            f"Asked for the corruption {name!r}; known are {', '.join(CORRUPTIONS)}."
        )
    if severity not in SEVERITIES:
        raise ConfigError(
            f"Asked for the corruption {name} at severity {severity}; there are "
            f"{SEVERITIES[0]} to {SEVERITIES[-1]}."
        )


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(values, sigma, mode="nearest", axes=(0, 1))


def _brighten(values: np.ndarray, more: float) -> np.ndarray:
    value = values.max(axis=-1, keepdims=True)
    raised = np.minimum(value + np.float32(more), 1)
    # Hue and saturation stay where all channels grow by one factor; black is gray.
    factor = raised / np.where(value > 0, value, 1)
    return np.where(value > 0, values * factor, raised)


def _compress(image: np.ndarray, quality: int) -> np.ndarray:
    is_gray = image.shape[-1] == 1
    buffer = io.BytesIO()
    picture = Image.fromarray(image[..., 0] if is_gray else image)
    picture.save(buffer, "JPEG", quality=quality)
    decoded = np.array(Image.open(buffer))
    return decoded[..., None] if is_gray else decoded
