"""The embedded MQTT broker, tested with the real Mosquitto."""
