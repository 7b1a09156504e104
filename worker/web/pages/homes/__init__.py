"""A home with several energies: its accounts joined on one page, and the sum of their energy where it is asked for."""
