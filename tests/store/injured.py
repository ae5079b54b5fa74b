"""Four writes and how each went, as JSON: `injured.py DATABASE`, run under strace, which breaks system calls."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

from appliance.errors import StoreUnavailable
from appliance.store import audit
from appliance.store.database import Database

database = Database.open(Path(sys.argv[1]))
outcomes = []
for n in range(4):
    write = partial(audit.record, key_id="", action="write", object=str(n), before=None, after=None)
    try:
        database.write(write).result()
    except StoreUnavailable as error:
        outcomes.append({"error": error.message, "failing": database.failing})
    else:
        outcomes.append({"error": None, "failing": database.failing})
database.close()
sys.stdout.write(json.dumps(outcomes))
