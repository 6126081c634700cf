"""Which pictures belong together, and which split each group goes to."""
