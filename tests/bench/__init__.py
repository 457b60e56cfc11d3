"""Measurements: `python -m tests.bench [NAME ...]`, or `make bench` for all. Each prints hardware, versions and figures."""
