"""Read the logs of attempts: times, pieces, and progress bars as a person saw them."""
