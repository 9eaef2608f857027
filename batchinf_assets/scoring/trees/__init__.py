"""Fast scoring of fitted tree models, with the very bits that scikit-learn gives."""
