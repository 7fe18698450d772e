"""DICOM: the first frame of a medical image, as gray of 16 bits or as color.

Stored values become the modality's by their rescale slope and intercept, or its table.
Of these, the first window or table of values of interest is shown, black to white;
where there is none, all that the stored bits can hold. MONOCHROME1 is inverted: there
the least value is white. Overlays and padding values are not looked at.

It is read by pydicom, the extra `dicom`, which brings decoders of uncompressed and RLE
pixels, and uses Pillow's for JPEG and JPEG 2000.
"""

import io
from typing import Any

import numpy as np

MAGIC = b"DICM"
MAGIC_AT = 128  # after a preamble of anything
_GRAY = ("MONOCHROME1", "MONOCHROME2")


class DicomError(Exception):
    """A DICOM file that is no usable image; its text is the reason."""


def is_dicom(data: bytes) -> bool:
    """Tells whether bytes begin as a DICOM file does."""
    return data[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC


class Dicom:
    """A file whose header is read, and whose pixels are not.

    Attributes:
      width: In pixels, as the header claims.
      height: Likewise.
    """

    def __init__(self, data: bytes):
        """Reads the header.

        Raises:
          DicomError: There is no pydicom, no pixel in the file, or colors of a kind
            that is not read.
        """
        try:
            import pydicom
        except ImportError:
            raise DicomError(
                "it is DICOM, and pydicom is not installed: pip install "
                '"tl-pipeline[dicom]"'
            ) from None
        self._dataset: Any = pydicom.dcmread(io.BytesIO(data))
        if "PixelData" not in self._dataset:
            raise DicomError("it is DICOM without pixels")
        self._kind = str(self._dataset.PhotometricInterpretation)
        if self._kind not in (*_GRAY, "RGB") and not self._kind.startswith("YBR"):
            raise DicomError(f"it is DICOM with pixels of {self._kind}, not read here")
        self.width, self.height = int(self._dataset.Columns), int(self._dataset.Rows)

    def read(self) -> np.ndarray:
        """Returns the first frame: uint16 [H, W] gray, or uint8 [H, W, 3] of RGB.

        Raises:
          DicomError: No installed decoder reads its compression, or it has no range.
        """
        values = self._decode()
        if self._kind not in _GRAY:
            if values.dtype != np.uint8:
                raise DicomError(f"it is DICOM with colors of {values.dtype}")
            return values
        shares = self._show(values)
        if self._kind == "MONOCHROME1":
            shares = 1 - shares
        return np.rint(shares * 65535).astype(np.uint16)

    def _decode(self) -> np.ndarray:
        from pydicom.pixels.utils import pixel_array

        syntax = self._dataset.file_meta.TransferSyntaxUID
        try:
            return pixel_array(self._dataset, index=0)  # RGB, if it was YBR
        except (NotImplementedError, RuntimeError) as error:
            raise DicomError(
                f"its pixels are compressed as {syntax.name}, which no installed "
                "decoder reads"
                if syntax.is_compressed
                else f"its pixels cannot be decoded: {error}"
            ) from error

    def _show(self, stored: np.ndarray) -> np.ndarray:
        """Returns float64 [H, W], black at 0 and white at 1."""
        from pydicom.pixels.processing import apply_modality_lut, apply_voi

        dataset = self._dataset
        values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
        if dataset.get("VOILUTSequence"):
            bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
            return np.asarray(apply_voi(values.astype(int), dataset)) / (2**bits - 1)
        width = _first(dataset.get("WindowWidth"))
        center = _first(dataset.get("WindowCenter"))
        if width is not None and center is not None:
            function = str(dataset.get("VOILUTFunction", "LINEAR"))
            return _apply_window(values, width, center, function=function)
        bits = int(dataset.BitsStored)
        least = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
        ends = np.array([least, least + 2**bits - 1])
        if dataset.get("ModalityLUTSequence"):
            bits = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
            low, high = 0.0, 2.0**bits - 1
        else:
            low, high = np.asarray(apply_modality_lut(ends, dataset), np.float64)
        if low == high:
            raise DicomError("it is DICOM with a rescale slope of 0")
        return np.clip((values - min(low, high)) / abs(high - low), 0, 1)


def _apply_window(
    values: np.ndarray, width: float, center: float, *, function: str
) -> np.ndarray:
    """Returns what a window shows, 0 to 1 (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID" and width > 0:
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR" and width >= 1:
        center, width = center - 0.5, width - 1
    elif function != "LINEAR_EXACT" or width <= 0:
        raise DicomError(f"it is DICOM with a window of width {width}, {function}")
    if not width:  # one value apart: a threshold
        return (values > center).astype(np.float64)
    return np.clip((values - center) / width + 0.5, 0, 1)


def _first(value: Any) -> float | None:
    """Returns a number, or the first of several; None where there is none."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except TypeError:
        return float(value[0]) if len(value) else None
