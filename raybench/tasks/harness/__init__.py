"""Tasks of lm-evaluation-harness, unchanged: its code finds them, asks and scores; raybench brings models, machines and resuming."""
