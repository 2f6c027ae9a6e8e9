"""Makes the examples importable, as the example's own launcher does, and plants a small folder of documents."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "clients" / "python" / "examples"))

RETRIES_MARKDOWN = """\
# Retries

A call that fails for a passing reason is worth another try. The `backoff` retry policy waits twice as long after
every failure. Waiting without chance would send all clients back at the same moment.

![a picture](retries.png)

```python
retry(forever=True)
```

- Never retry a call that is not idempotent.
- Give up when the budget is spent.
"""

QUEUES_HTML = """\
<!doctype html><html><head><title>Queues &amp; pressure</title><style>p { color: red }</style></head>
<body><nav>Home | About us</nav><script>alert("queue")</script>
<h1>Queues</h1>
<p>A bounded queue tells its producers
   to slow down. An unbounded queue hides <em>the</em> trouble until memory is gone.</p>
<pre>queue.put(1)</pre>
<ul><li>Back-pressure &amp; limits belong together.</li></ul>
<footer>All rights reserved by nobody.</footer></body></html>
"""

TIMEOUTS_TEXT = """\
Timeouts
========

Every wait has a limit, and a limit that is reached is an answer. The sum of all timeouts below must be shorter
than the one above.

.. note:: A deadline travels with the call.

Example::

    wait(timeout=5)
"""


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "documents"
    (root / "guides").mkdir(parents=True)
    (root / "guides" / "retries.md").write_text(RETRIES_MARKDOWN)
    (root / "queues.html").write_text(QUEUES_HTML)
    (root / "timeouts.rst").write_text(TIMEOUTS_TEXT)
    return root
