"""What `edge_vit.train` is made of: data, augmentation, schedule, state."""
