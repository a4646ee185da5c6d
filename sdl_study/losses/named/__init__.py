"""One file per named loss: its name is the file's, its class is called LOSS there.

A new file is a new loss of the catalogue; nothing else lists it. LOSS is a ``WeightRule``, a ``ContrastiveLoss`` or a
``SupervisedLoss``, and its constructor's signature is what a study can set.
"""
