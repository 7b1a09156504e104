"""Thin Celery tasks that take and return plain values.

Importing them needs no broker and no environment.
"""
