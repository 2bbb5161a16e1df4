"""Real Klipper, real Moonraker, real Mosquitto, one real coordinator."""
