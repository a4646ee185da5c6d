"""Own backbones in Hugging Face's form: configuration, ``save_pretrained`` and ``from_pretrained`` included.

Importing one of these files imports transformers (seconds): only a kind's ``build`` does it, inside the worker.
"""
