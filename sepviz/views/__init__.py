"""What is shown without a kernel and without widgets: pages, galleries, animations, figures."""
