"""Seeds of generators that a script, or a library that it uses, makes without one."""
