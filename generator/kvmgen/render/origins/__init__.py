"""Which places of the inventory made each line of a file, for whoever asks: a build never comes here.

Beside each renderer stands a table, in the module of the same name: the way to an element or key in the file -> the
places that decide what it says. `walk` finds the ways in the text that was rendered. What has no place of its own is
its parent's; `CHOICE` is where kvmgen decides by itself.
"""
