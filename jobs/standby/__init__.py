"""The keeper of an attempt that has not begun: it holds a warm spare until it is needed."""
