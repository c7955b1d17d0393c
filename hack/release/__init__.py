"""Publishes the operator's image and the chart, to a registry or as the files of a release."""
