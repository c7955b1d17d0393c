"""What leaves the repository: the operator's image and the chart, in a registry or as files of a release."""
