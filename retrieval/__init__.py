"""The memory of cases: similar scans, organs and sentences, which propose checks and decide nothing."""
