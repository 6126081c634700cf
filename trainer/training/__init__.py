"""The training loop and the run folder that it writes; it draws nothing and tells a listener."""
