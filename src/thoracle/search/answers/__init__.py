"""Write hits for programs and for people."""
