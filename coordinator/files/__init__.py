"""G-code files of jobs: kept once by sha256, named safely, read for what they say and do."""
