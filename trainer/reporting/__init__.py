"""From numbers to text, PNG and HTML; computes nothing."""
