"""The contract's messages and stubs, generated from protos/podium/v1 by `make proto`."""
