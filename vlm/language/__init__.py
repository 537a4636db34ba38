"""Who words the evidence."""
