"""`podium check --production`: the deployment checklist, and the facts it is judged from."""
