"""The decisions of the farm, pure: values and the time come in, values go out.

Nothing in this folder does I/O, reads a clock, draws a random number or knows of MQTT, SQL or
HTTP. Fresh ids come in as an iterator, time as `Now`.
"""
