"""The script imports no framework, its own module does: projects with a `models.py`."""

import builder
from slow import data, pause

x, y = data()
builder.build().fit(x, y, batch_size=16, epochs=4, callbacks=[builder.slow(pause)], verbose=2)
