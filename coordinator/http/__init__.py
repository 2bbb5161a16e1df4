"""HTTP and WebSocket: decode, ask the engine, encode. One file per resource.

`app.make_app` is the way in. Nothing here decides anything about printers or jobs, and nothing
here writes to the database except rows of stored files.
"""
