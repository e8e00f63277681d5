"""The generated pages of docs/reference, read from conf/ and from sources that are not imported."""
