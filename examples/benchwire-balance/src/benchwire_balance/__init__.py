"""Laboratory balances: read live, tared and zeroed, weighings kept for good."""
