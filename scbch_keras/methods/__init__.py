"""Methods of the field on the branches and data of SCBCH, one a file: its class and the terms of its loss.

`scbch_keras.baselines.BASELINES` has them by name.
"""
