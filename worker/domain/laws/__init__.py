"""Laws that stored measures must satisfy, within a series and between two."""
