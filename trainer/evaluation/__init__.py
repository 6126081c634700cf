"""Numbers from predictions; draws nothing."""
