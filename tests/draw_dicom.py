"""DICOM series drawn from one picture, with identifiers that must never show."""

from pathlib import Path

import numpy as np


def write_series(folder: Path, grey: np.ndarray, slices: int) -> list[Path]:
    """Write axial MR slices 5 mm apart, each a little dimmer than the one before.

    Args:
        folder: a new one.
        grey: uint8 (h, w).
        slices: how many.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir()
    series, study, paths = generate_uid(), generate_uid(), []
    for number in range(slices):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.Modality = series, study, "MR"
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Doe^Jane", "4711", "19701231"
        dataset.Rows, dataset.Columns = grey.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
            16,
            12,
            11,
            0,
        )
        dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5 * number]
        dataset.PixelSpacing, dataset.SliceThickness, dataset.InstanceNumber = [1, 1], 5, number + 1
        dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
        dataset.PixelData = (grey.astype(np.uint16) * (16 - number)).tobytes()
        paths.append(folder / f"slice{number:02d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths
