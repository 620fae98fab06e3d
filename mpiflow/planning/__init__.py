"""Planning: from names to tasks, from tasks to ranks. Pure: the same input gives the same plan on every rank."""
