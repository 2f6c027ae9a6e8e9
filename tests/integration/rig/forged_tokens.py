"""Tokens that are made by hand: with the service's own key, with another, with none, and with any claims."""

import base64
import datetime as dt
import json

import jwt


def secret_of(service):
    return bytes.fromhex((service.directory / "state" / "token.key").read_text())


def claims(**changed):
    now = int(dt.datetime.now(dt.UTC).timestamp())
    told = {"iss": "podium", "aud": "podium", "sub": "mallory", "tenant": "default", "roles": ["admin"]}
    whole = {**told, "iat": now, "exp": now + 3600, **changed}
    return {name: value for name, value in whole.items() if value is not None}


def signed(secret, payload=None, *, algorithm="HS256", **header):
    return jwt.encode(payload or claims(), secret, algorithm=algorithm, headers={"kid": "podium", **header})


def unsigned(payload, **header):
    parts = [{"alg": "none", "typ": "JWT", "kid": "podium", **header}, payload]
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."
