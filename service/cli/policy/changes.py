"""`podium policy`: apply a policy, take one back, and be the second person who approves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed
from service.cli.options import Address, Json, Token
from service.cli.policy.preview import named, preview

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2
    from service.cli.connecting import Service
    from service.cli.policy.file import PolicyFile

APPLY_EXAMPLE = example(
    "podium policy apply policy.yaml --dry-run --since 7d",
    'podium policy apply policy.yaml --note "refunds need a person"',
)
ROLLBACK_EXAMPLE = example('podium policy rollback 3 --note "too strict"')
PROPOSALS_EXAMPLE = example("podium policy proposals --json | jq -r .proposal_id")
APPROVE_EXAMPLE = example("podium policy approve pp_0642ab1c9d3f")
REJECT_EXAMPLE = example('podium policy reject pp_0642ab1c9d3f --reason "too wide"')

Expected: TypeAlias = Annotated[
    int | None,
    typer.Option("--expected-revision", metavar="N", min=0, help="Do nothing when another revision is in force."),
]
Note: TypeAlias = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")]
RequestId: TypeAlias = Annotated[
    str, typer.Option("--request-id", metavar="ID", help="The same id again gets the same answer.")
]
ProposalId: TypeAlias = Annotated[
    str, typer.Argument(metavar="PROPOSAL", help="Its id, as `podium policy proposals` tells it.")
]


def apply(
    *,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The policy, YAML or JSON; - is standard input.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: print which past calls would be decided differently.")
    ] = False,
    since: Annotated[str, typer.Option(metavar="DURATION", help="With --dry-run: how far back.")] = "7d",
    changes: Annotated[
        int, typer.Option("--changes", metavar="N", min=1, max=10_000, help="With --dry-run: print at most so many.")
    ] = 100,
    note: Note = "",
    expected_revision: Expected = None,
    request_id: RequestId = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Apply a policy, or propose it where the policy in force wants a second person.

    A policy with mistakes, or one whose own cases (see `podium policy test`) come out otherwise, is not sent.
    """
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.policy.file import read_policy

    given = read_policy(file)
    _check(given)
    if dry_run:
        preview(given.policy, since, changes, address, token, as_json=as_json)
        return

    async def send(service: Service) -> pb.ApplyPolicyResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = pb.ApplyPolicyRequest(
            request_id=request_id, policy=given.policy, expected_revision=expected_revision, note=note
        )
        return await service.connection.call(stub.ApplyPolicy, request)

    _tell_change(with_service(address, token, send), as_json=as_json)


def rollback(
    revision: Annotated[int, typer.Argument(metavar="REVISION", min=0, help="Which; 0 is the built-in policy.")],
    note: Note = "",
    expected_revision: Expected = None,
    request_id: RequestId = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Make an earlier revision the newest again, under the same conditions as `podium policy apply`."""
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc
    from service.cli.connecting import with_service

    async def send(service: Service) -> pb.RollBackPolicyResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = pb.RollBackPolicyRequest(
            request_id=request_id, revision=revision, expected_revision=expected_revision, note=note
        )
        return await service.connection.call(stub.RollBackPolicy, request)

    _tell_change(with_service(address, token, send), as_json=as_json)


def proposals(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """List the policies that wait for a second person, the oldest first."""
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import moment, print_json, table
    from service.cli.output import note as tell
    from service.cli.policy.text import policy_content

    async def read(service: Service) -> list[pb.PolicyProposal]:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = pb.ListPolicyProposalsRequest()
        found: list[pb.PolicyProposal] = []
        while True:
            page = await service.connection.call(stub.ListPolicyProposals, request)
            found += page.proposals
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    waiting = with_service(address, token, read)
    if as_json:
        for each in waiting:
            print_json(
                {
                    "proposal_id": each.proposal_id,
                    "base_revision": each.base_revision,
                    "proposed_by": named(each.proposed_by),
                    "proposed_at": moment(each.proposed_at_us),
                    "note": each.note,
                    "policy": policy_content(each.policy),
                }
            )
    elif waiting:
        rows = [
            (each.proposal_id, each.policy.name, named(each.proposed_by), moment(each.proposed_at_us), each.note)
            for each in waiting
        ]
        table(("proposal", "policy", "by", "proposed", "why"), rows)
    else:
        tell("nothing waits")


def approve(proposal_id: ProposalId, address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """Apply a policy that somebody else proposed."""
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    async def send(service: Service) -> pb.ApprovePolicyResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        return await service.connection.call(stub.ApprovePolicy, pb.ApprovePolicyRequest(proposal_id=proposal_id))

    answer = with_service(address, token, send)
    if as_json:
        print_json({"revision": answer.revision, "event": answer.event})
    else:
        say(f"revision {answer.revision} is in force")


def reject(
    proposal_id: ProposalId,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """End a proposal."""
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    async def send(service: Service) -> pb.RejectPolicyResponse:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        request = pb.RejectPolicyRequest(proposal_id=proposal_id, reason=reason)
        return await service.connection.call(stub.RejectPolicy, request)

    answer = with_service(address, token, send)
    if as_json:
        print_json({"event": answer.event})
    else:
        say(f"{proposal_id} will not be applied")


def _check(given: PolicyFile) -> None:
    """Raise CommandFailed for a policy that is none, or decides its own cases otherwise."""
    from service.policy_check import problems_of, try_cases

    violations, _ = problems_of(given.policy)
    if violations:
        raise given.failure(violations)
    failed = [outcome.case.name for outcome in try_cases(given.policy, given.cases()) if not outcome.passed]
    if failed:
        message = f"the case {failed[0]!r} comes out otherwise, and {len(failed) - 1} more"
        hint = f"`podium policy test {given.name}` tells how"
        raise CommandFailed(message, reason="CASE_FAILED", hint=hint, context=given.name)


def _tell_change(
    answer: access_service_pb2.ApplyPolicyResponse | access_service_pb2.RollBackPolicyResponse, *, as_json: bool
) -> None:
    from service.cli.output import print_json, say

    if as_json:
        content = {"revision": answer.revision or None, "proposal_id": answer.proposal_id or None}
        print_json(content | {"event": answer.event})
    elif answer.proposal_id:
        say(f"{answer.proposal_id} waits for another person: podium policy approve {answer.proposal_id}")
    else:
        say(f"revision {answer.revision} is in force")
