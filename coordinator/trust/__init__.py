"""Why a host may believe that it talks to its farm, and the farm that it talks to its host.

Owns the farm's certificate authority, the certificates of the doors, and the codes by which hosts
join. Must not know jobs, SQL or MQTT messages.
"""
