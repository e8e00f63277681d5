"""What saliencies measure: gradients, inputs of layers, feature maps, curvature."""
