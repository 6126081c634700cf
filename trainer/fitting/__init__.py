"""What goes into `config.json` after training: temperature, thresholds, guard; never sees test groups."""
