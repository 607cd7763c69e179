"""The paper's tables beside ours, figures, and one HTML page of both."""
