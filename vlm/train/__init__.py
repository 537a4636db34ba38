"""Recipes that train what the product ships, each readable from top to bottom."""
