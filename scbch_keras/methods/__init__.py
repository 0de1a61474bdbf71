"""Methods of the field on the branches and data of SCBCH, one a file: its class and the terms of its loss."""
