"""From a dropped file to an accepted job or an answered request."""
