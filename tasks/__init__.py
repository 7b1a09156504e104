"""Thin Celery tasks: values in, values out, one decision about time each.

Importing them needs no broker and no environment.
"""
