"""Where the voxels of a scan lie in the body."""
