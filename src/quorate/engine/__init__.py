"""The hands: what the brains decide is carried out here, against the database, the hypervisor and the other nodes."""
