"""A whole synthetic body, random by seed, in which every voxel is labelled."""
