"""Pages of files: the download of what is stored, and the import of what people have."""
