"""What people touch: the command line, the conductor that reads a scan, and the exporters."""
