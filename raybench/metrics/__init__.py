"""What an answer is worth: metrics as mergeable statistics, and how sure a number is."""
