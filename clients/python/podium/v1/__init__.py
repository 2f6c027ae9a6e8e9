"""Generated from protos/podium/v1; do not edit."""
