"""What the compiled files mean to packets: the prediction, and what a kernel does that has them loaded.

`python -m tests.lab.agreement` compares them for all that an inventory's hosts carry; see there for one pair.
"""
