"""What verbs of the command line do that is more than one call."""
