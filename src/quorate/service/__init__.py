"""The composition root: reads the configuration, builds and wires everything below, supervises it. Decides nothing."""
