"""The table from errors to statuses, and the interceptor that applies it."""

import asyncio
import inspect
import logging

import grpc
import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration

from podium.status_details import parse_details if False else None
