"""Parsing of study files: TOML to dataclasses, with all mistakes reported at once."""
