"""A warm spare: an interpreter that has imported its libraries before its attempt begins."""
