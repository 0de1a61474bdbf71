"""What lies in a release's folder: manifest, layouts, the model that made codes. numpy only."""
