"""What compiled files mean to a packet: whether it can get there, and which line decides.

Everything here reads the files of hosts' folders, not the model, so that it also finds what a renderer got wrong and
understands what a person wrote by hand. Only who the parties are (names, addresses) comes from outside.
"""
