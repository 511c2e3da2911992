"""How a job runs: generators that yield progress and return the result."""
