"""Words of all other folders: tensors by name, exact choices, seeds. No files and no processes."""
