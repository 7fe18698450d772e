"""Training a network and its head together, from a head that was trained before."""
