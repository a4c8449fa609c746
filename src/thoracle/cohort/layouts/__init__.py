"""One module a layout: `find(folder)` lists its scans with what tables say of them; none reads a voxel."""
