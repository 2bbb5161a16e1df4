"""What is kept of G-code files and what is read from them."""
