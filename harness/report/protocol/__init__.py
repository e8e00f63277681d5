"""The rules of a fair survey, checked."""
