"""Volumes, findings, evidence, anatomy, tools, rules and reports: everything between a CT and its words."""
