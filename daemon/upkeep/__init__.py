"""Looking after a home and its box: check, mend, make room, move, install."""
