"""DICOM: files, folders and archives to one stored scan."""
