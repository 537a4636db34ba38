"""Scans whose truth is known."""
