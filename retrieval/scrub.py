"""Report text without what tells who somebody is: dates, long numbers, UIDs, addresses, named people.

Patterns, not a promise: free text can name a person in ways that no pattern knows. A library is patient data
with or without this.
"""

from __future__ import annotations

import re

GONE = "[removed]"
MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
PATTERNS = tuple(
    re.compile(pattern, flags)
    for pattern, flags in (
        (r"\b\d+(?:\.\d+){4,}\b", 0),  # UIDs
        (r"\b(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?\b|\b\d\d?[-/.]\d\d?[-/.](?:19|20)\d\d\b", 0),  # dates
        (rf"\b\d\d?\.? (?:{MONTHS})[a-z]*\.?,? (?:19|20)\d\d\b|\b(?:{MONTHS})[a-z]*\.? \d\d?,? (?:19|20)\d\d\b", re.I),
        (r"\b[A-Z]{0,4}[-_]?\d{6,}\b", 0),  # record and accession numbers
        (r"\b[\w.+-]+@[\w-]+\.\w+\b", 0),  # mail
        (r"(?:\+|\b00)\d[\d ()/-]{7,}\d\b", 0),  # telephone
        (r"\b[A-Z][A-Za-z'-]+\^[A-Z][A-Za-z'-]*(?:\^[\w'-]*)*", 0),  # DICOM person names
        (r"\b(?:Dr|Prof|Mr|Mrs|Ms|Miss)\.? (?:[A-Z][\w'-]+\.? ?){1,3}", 0),
        (
            r"(?im)^\s*(?:patient(?:'s)?(?: name| id)?|name|mrn|accession(?: no\.?| number)?|dob|date of birth)\s*:.*$",
            0,
        ),
    )
)


def scrubbed(text: str) -> str:
    """The text with each such run replaced by GONE."""
    for pattern in PATTERNS:
        text = pattern.sub(GONE, text)
    return text
