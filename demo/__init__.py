"""A farm with no hardware: real Klipper and real Moonraker on virtual micro-controllers.

Owns nothing itself. The entry points are `demo.printer.VirtualPrinter`, `demo.cut.CutProxy`
and `demo.mcu.ledger.read_ledger`. Nothing in here may import the coordinator or the component:
the demo stands in for the world outside the product and is its judge.
"""
