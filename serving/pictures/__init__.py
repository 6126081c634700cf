"""From the bytes of a picture, a DICOM series or a NIfTI file to grey pixels; knows no model."""
