"""What travels over MQTT: its shape, its bounds, and its peers of other versions."""
