"""Python state: what callbacks, models, data and the script's functions hold and change."""
