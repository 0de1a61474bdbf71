"""Files to trained model: data sets, the quickstart and the command line."""
