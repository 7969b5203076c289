"""Identity of stages: which recorded stage a call of ``fit`` or a loop is."""
