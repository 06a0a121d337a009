"""What the requests of one process share: tasks, flights, recent values."""
