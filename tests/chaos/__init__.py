"""Chaos: the real farm under random faults, judged by what was physically extruded.

schedule -> what goes wrong and what is ordered, from a seed (pure)
hands    -> does it to a farm of real processes; person -> the one who walks around in it
evidence -> database, ledgers and faults, read into values
verdict  -> judges the evidence (pure); timeline -> tells it in order
"""
