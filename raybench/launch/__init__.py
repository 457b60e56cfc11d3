"""Where the driver itself runs: this process now; clusters come here."""
