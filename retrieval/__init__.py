"""The memory of cases. Nothing is here yet; ``tomoscribe doctor`` says so."""
