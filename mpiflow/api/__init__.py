"""What Python programs use: workflows built or loaded, planned, run on any communicator, and asked for values."""
