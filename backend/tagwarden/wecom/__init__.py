"""The one real WeCom client: token, budget, ledger and callbacks; it knows the protocol and decides nothing."""
