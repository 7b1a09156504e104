"""Files of measures: stored documents as one whole file, for programs and for people."""
