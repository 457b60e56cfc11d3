"""What is asked: tasks, their data, their prompts, and how an answer is read from a text."""
