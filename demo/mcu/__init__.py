"""A Klipper micro-controller and the printer wired to it, without hardware.

Split by noun: protocol (bytes on the wire), clock (ticks and timers), devices (what the host
configures by oid), physics (what the pins do to the world), faults (what is broken), control
(the socket that breaks and mends it), ledger (what was truly extruded), firmware (the commands).
Only `firmware` knows all of them. It must not know Moonraker, MQTT or the coordinator.
"""
