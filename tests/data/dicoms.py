"""Writes DICOM files for tests."""

import io
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def make_dicom(
    values: np.ndarray,
    *,
    bits: int | None = None,
    kind: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    pixels: bytes | None = None,
    **elements: Any,
) -> bytes:
    """Returns a file of these stored values.

    Args:
      values: [H, W] or [H, W, 3], of one or two bytes, signed or not; or [N, H, W].
      bits: That are stored; all of them by default.
      kind: Its photometric interpretation.
      syntax: Of the transfer.
      pixels: Encoded ones, in place of the values.
      **elements: Further ones, by keyword.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    meta.MediaStorageSOPClassUID = pydicom.uid.UID(SECONDARY_CAPTURE)
    meta.MediaStorageSOPInstanceUID = pydicom.uid.UID("1.2.3")
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE, "1.2.3"
    is_color = kind not in ("MONOCHROME1", "MONOCHROME2")
    dataset.SamplesPerPixel = 3 if is_color else 1
    if is_color:
        dataset.PlanarConfiguration = 0
    elif values.ndim == 3:
        dataset.NumberOfFrames = len(values)
    rows, columns = values.shape[:2] if is_color else values.shape[-2:]
    dataset.Rows, dataset.Columns = rows, columns
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated = 8 * values.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = values.tobytes() if pixels is None else pixels
    dataset["PixelData"].VR = "OB" if pixels or values.dtype.itemsize == 1 else "OW"
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()
