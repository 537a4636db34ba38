"""Who finds structures: rules, the embedded network, a user's map, TotalSegmentator, nnU-Net models, plug-ins."""
