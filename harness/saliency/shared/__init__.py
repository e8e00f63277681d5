"""Measures what saliencies share: gradients, inputs of layers, feature maps, curvature."""
