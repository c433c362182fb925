"""Answers to the questions that the sources of a study ask, from the values of its runs."""
