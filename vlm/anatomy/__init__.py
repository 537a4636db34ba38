"""Where everything is: masks of structures, by rules."""
