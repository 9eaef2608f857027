"""What a user declares in `defs.yaml`, as validated values; nothing here reads data."""
