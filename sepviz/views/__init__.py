"""What is shown without a kernel: pages, galleries, animations. No widget is needed for any of it."""
