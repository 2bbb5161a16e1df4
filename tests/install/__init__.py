"""Tests of install.sh: what it changes on a printer's host, and that it takes it back."""
