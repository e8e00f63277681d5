"""Makes what a finished run writes of its model."""
