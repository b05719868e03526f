"""Work on the workers of Ray, on this machine or a cluster's."""
