"""What commands do with the whole registry: dump and restore, grants, and rotation of its sealed values."""
