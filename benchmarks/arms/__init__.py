"""What is compared, each in a process of its own: a JSON of settings in, JSON lines out."""
