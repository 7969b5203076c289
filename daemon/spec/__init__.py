"""Job specs: from the text of a file to an accepted job."""
