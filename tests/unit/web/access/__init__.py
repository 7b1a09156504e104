"""Tests of signing in and of a household's ways back."""
