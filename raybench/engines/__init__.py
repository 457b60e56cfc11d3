"""Who answers: engines behind one protocol, each with its heavy imports behind its own door."""
