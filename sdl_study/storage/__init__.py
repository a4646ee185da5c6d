"""Studies on an object storage: what survives the machine that they run on.

The study's folder stays the working copy; what makes it survive is brought to ``s3://bucket/prefix/NAME``. Objects
there are named by their content and never change; one small object, the index, names those that are the study now. A
state is written by first writing the objects that it needs and then, whole and at once, its index: whoever reads the
storage at any moment finds a state that was, never a mixture of two, never half a file.
"""
