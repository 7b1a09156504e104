"""Rights of access: declared, opened, checked and withdrawn; of a household or of the operator's own meters."""
