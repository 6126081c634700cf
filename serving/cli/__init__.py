"""`tumor predict`, the handler of errors around all commands, and the answers as JSON, CSV and words."""
