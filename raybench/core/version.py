"""The version of raybench; part of every signature."""

VERSION = "0.1.0"
