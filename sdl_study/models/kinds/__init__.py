"""The kinds of encoder, one file each, found by the file's name.

A kind is a module with ``Settings`` (an ``EncoderSettings``) and ``build(settings, spec) -> (backbone, width)``. It
may also have ``check(settings, spec)``, which says in the driver, before anything starts, what ``build`` would fail
on, ``load(settings, spec, folder)``, which reads a saved backbone where building it and filling in its weights is not
the way, and ``reads(settings)``, which says how its inputs are made. Importing a kind imports neither torch nor
transformers: its functions do that.
"""
