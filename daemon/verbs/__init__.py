"""One file for each verb of the command line, named as the verb is."""
