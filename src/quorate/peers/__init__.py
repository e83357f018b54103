"""What nodes say to each other: versioned messages over a socket that only nodes can open. Never public."""
