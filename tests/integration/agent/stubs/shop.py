"""Stands for the shop of the agent's program: a bank that notes in SHOP_LEDGER what it is asked, and pays a key once.

With SHOP_HOLD a refund is begun and never ended: it says so on standard error.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

MODEL = "scripted"


class Bank:
    """The bank."""

    def __init__(self):
        self._ledger = Path(os.environ["SHOP_LEDGER"])

    def _note(self, **entry):
        with self._ledger.open("a") as ledger:
            ledger.write(json.dumps(entry) + "\n")

    def _paid(self, key):
        entries = map(json.loads, self._ledger.read_text().splitlines())
        return any(entry["what"] == "paid" and entry["key"] == key for entry in entries)

    async def newest_invoice(self, customer):
        """The newest invoice of a customer."""
        self._note(what="asked", customer=customer)
        return {"id": f"in_{customer}", "customer": customer, "cents": 1999}

    async def refund(self, invoice, cents, *, idempotency_key):
        """Pays, unless it has paid for this key before."""
        self._note(what="refund", invoice=invoice, cents=cents, key=idempotency_key)
        if os.environ.get("SHOP_HOLD"):
            sys.stderr.write("the bank works\n")
            await asyncio.Event().wait()
        if not self._paid(idempotency_key):
            self._note(what="paid", invoice=invoice, cents=cents, key=idempotency_key)
        return f"refunded {cents} cents of {invoice}"


bank = Bank()
