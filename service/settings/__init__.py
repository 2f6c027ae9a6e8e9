"""The settings of the parts of the service: their fields, their mistakes, and how they are found."""
