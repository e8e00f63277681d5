"""Generates the pages of docs/reference from conf/ and from sources that are not imported."""
