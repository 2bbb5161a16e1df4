"""The engine, the bus, the configuration and the process: what joins the pure core to the world."""
