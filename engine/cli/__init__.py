"""`husai-engine`: the command line."""
