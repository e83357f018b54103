"""DCE/RPC over TCP: NDR, PDUs, authentication, server, client, endpoint mapper. Knows nothing of clusters."""
