"""What lies on disk: files of an upload, files that are written whole, folders that this process made."""
