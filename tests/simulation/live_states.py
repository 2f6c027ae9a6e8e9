"""Every state a workflow was live in, to hold it against the one that is rebuilt from the log up to that version."""

from service.domain.canonical import state_digest
from service.domain.evolve import evolve
from service.domain.state import Workflow
from store.records import known_payload


class LiveStates:
    """Sees each life of the service, and keeps the digest of every state that was durable."""

    def __init__(self):
        self._digests = {}
        """workflow → version → digests; more than one would be a contradiction already."""

    def watch(self, life):
        """Look at a workflow whenever a turn of its was released, which is when its state is durable."""
        release = life.engine._release  # noqa: SLF001 - the simulation looks into the service

        def released(turn, committed):
            release(turn, committed)
            resident = turn.resident
            if committed is not None and not resident.in_flight:
                versions = self._digests.setdefault(resident.key.workflow_id, {})
                versions.setdefault(resident.version, set()).add(state_digest(resident.state))

        life.engine._release = released  # noqa: SLF001 - as above

    def compare(self, log, *, ignored=""):
        """Fold the log event by event. Returns how many states were compared, and a sentence for each that differs.

        `ignored` is the kind of an event that the fold is made to ignore, in a negative control.
        """
        compared, differences = 0, []
        for workflow_id, versions in self._digests.items():
            state = Workflow()
            for version, event in enumerate(log.events(workflow_id), 1):
                if event.WhichOneof("payload") != ignored:
                    evolve(state, known_payload(event))
                    state.changed.clear()
                if version in versions:
                    compared += 1
                    if versions[version] != {state_digest(state)}:
                        differences.append(f"{workflow_id} was live in another state at version {version} than rebuilt")
            missing = [version for version in versions if version > len(log.events(workflow_id))]
            differences += [
                f"{workflow_id} was live at version {version}, which the log does not have" for version in missing
            ]
        return compared, differences
