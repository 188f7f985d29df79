"""What of this program works on this machine, and how to mend what does not: python -m gnfactor.doctor."""
