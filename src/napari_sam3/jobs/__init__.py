"""What was asked, paid and answered: stored answers, the ledger, and who may spend what."""
