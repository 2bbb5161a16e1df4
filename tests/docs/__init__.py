"""What is written for users, held against the code."""
