"""`tumor predict` and `tumor serve`."""
