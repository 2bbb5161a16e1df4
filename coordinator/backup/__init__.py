"""Saving a farm into one file, and making a farm of such a file again.

`saving.save` and `restoring.restore` are the ways in; manifest.py is the format. Both work on the
data folder, with or without a coordinator beside them. Nothing here knows HTTP or MQTT.
"""
