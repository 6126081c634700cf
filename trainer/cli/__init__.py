"""The command line `tumor`: parse and call."""
