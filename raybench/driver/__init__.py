"""Who decides: plan, dispatch, score; the same code on a laptop and on a cluster."""
