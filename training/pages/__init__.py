"""Pages and figures of runs, audits and grids."""
