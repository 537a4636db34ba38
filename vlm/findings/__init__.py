"""One vocabulary of findings, and one reader of report text."""
