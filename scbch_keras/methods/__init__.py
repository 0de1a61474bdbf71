"""The methods: one file each, with its loss terms."""
