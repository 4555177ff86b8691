"""The modules next to this file are on the import path; programs make loops of their own."""
