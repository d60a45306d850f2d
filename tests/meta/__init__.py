"""What holds for the project itself: layers, names, documents, types, the likeness of the twins, and that it installs."""
