"""`podium policy`: test a policy, look at it and at its history. What changes it is in changes.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from service.cli.examples import example
from service.cli.failures import ExitCode
from service.cli.options import Address, Json, Token
from service.cli.policy import changes
from service.cli.policy.preview import named

if TYPE_CHECKING:
    from podium.v1 import access_service_pb2
    from service.cli.connecting import Service
    from service.policy_check import CaseOutcome

app = typer.Typer(
    help="Test, apply and look at the policy that says who may do what.", no_args_is_help=True, rich_markup_mode=None
)

File: TypeAlias = Annotated[str, typer.Argument(metavar="FILE", help="The policy, YAML or JSON; - is standard input.")]


@app.command(
    "test",
    epilog=example(
        "podium policy test policy.yaml",
        "podium policy test policy.yaml --cases more-cases.yaml --json | jq -r 'select(.passed | not).name'",
    ),
)
def check_cases(
    file: File,
    cases: Annotated[
        str | None, typer.Option("--cases", metavar="FILE", help="Cases beside those under `tests` in the policy.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for mistakes in a policy and decide its cases, without a service. Exit code 1: a case came out otherwise.

    A case has a name, who calls (principal, roles, claims, scopes, address), what (tool and its permissions, with
    arguments; or the permissions of a method), perhaps a time, and what to expect: allow or deny, perhaps by a rule.
    """
    from service.cli.json_options import read_text
    from service.cli.output import note, print_json, table
    from service.cli.policy.cases import read_cases
    from service.cli.policy.file import read_policy
    from service.policy_check import problems_of, try_cases

    given = read_policy(file)
    violations, warnings = problems_of(given.policy)
    if violations:
        raise given.failure(violations)
    for path, problem in given.told(warnings):
        note(f"warning: {path} {problem}")
    wanted = given.cases()
    if cases is not None:
        wanted += read_cases(read_text(cases, "--cases"), cases)
    outcomes = try_cases(given.policy, wanted)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if as_json:
        for outcome in outcomes:
            print_json(_outcome_dict(outcome))
    else:
        if outcomes:
            table(("", "case", "decided", "expected"), [_outcome_row(outcome) for outcome in outcomes])
        note(f"{file} is a policy; {len(outcomes) - len(failed)} of {len(outcomes)} cases came out as expected")
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


@app.command("show", epilog=example("podium policy show > policy.yaml", "podium policy show --revision 3 --json"))
def show(
    revision: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="An earlier revision; 0 is the built-in policy.")
    ] = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Print the policy in force, or an earlier revision, as the file that `podium policy apply` takes."""
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say
    from service.cli.policy.text import policy_content, policy_text

    found = with_service(address, token, lambda service: read_revision(service, revision))
    if as_json:
        print_json(_revision_dict(found) | {"policy": policy_content(found.policy)})
        return
    say(f"# {_headline(found)}")
    say(policy_text(found.policy).removesuffix("\n"))


@app.command("history", epilog=example("podium policy history", "podium policy history --limit 5 --json"))
def history(
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100_000, help="At most so many.")] = 100,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the revisions of the policy, the newest first."""
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import moment, note, print_json, table

    async def read(service: Service) -> list[pb.PolicyRevision]:
        stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
        found: list[pb.PolicyRevision] = []
        request = pb.ListPolicyRevisionsRequest()
        while True:
            request.page_size = min(1000, limit - len(found))
            page = await service.connection.call(stub.ListPolicyRevisions, request)
            found += page.revisions
            if not page.next_page_token or len(found) >= limit:
                return found
            request.page_token = page.next_page_token

    revisions = with_service(address, token, read)
    if as_json:
        for each in revisions:
            print_json(_revision_dict(each))
    elif not revisions:
        note("the built-in policy is in force: nothing was applied yet")
    else:
        rows = [
            (
                each.revision,
                moment(each.applied_at_us),
                named(each.applied_by),
                named(each.proposed_by),
                each.note,
            )
            for each in revisions
        ]
        table(("revision", "applied", "by", "proposed by", "why"), rows)


@app.command("diff", epilog=example("podium policy diff 3", "podium policy diff policy.yaml", "podium policy diff 2 3"))
def diff(
    changed: Annotated[str, typer.Argument(metavar="FILE|REVISION", help="The policy to look at.")],
    against: Annotated[
        str | None,
        typer.Argument(metavar="FILE|REVISION", help="Compared with it; without it: what is in force."),
    ] = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Print how a policy differs from another one. With two arguments, from the first to the second."""
    import difflib

    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, say
    from service.cli.policy.file import read_policy
    from service.cli.policy.text import policy_text

    first, second = (None, changed) if against is None else (changed, against)

    async def text_of(service: Service, name: str | None) -> list[str]:
        if name is not None and not name.isdigit():
            return policy_text(read_policy(name).policy).splitlines()
        return policy_text((await read_revision(service, None if name is None else int(name))).policy).splitlines()

    async def both(service: Service) -> tuple[list[str], list[str]]:
        return await text_of(service, first), await text_of(service, second)

    before, after = with_service(address, token, both)
    lines = list(difflib.unified_diff(before, after, first or "in force", second or "in force", lineterm=""))
    if as_json:
        print_json({"from": first or "in force", "to": second, "lines": lines})
    elif lines:
        say("\n".join(lines))
    else:
        note("they do not differ")


app.command("apply", epilog=changes.APPLY_EXAMPLE)(changes.apply)
app.command("rollback", epilog=changes.ROLLBACK_EXAMPLE)(changes.rollback)
app.command("proposals", epilog=changes.PROPOSALS_EXAMPLE)(changes.proposals)
app.command("approve", epilog=changes.APPROVE_EXAMPLE)(changes.approve)
app.command("reject", epilog=changes.REJECT_EXAMPLE)(changes.reject)


async def read_revision(service: Service, revision: int | None) -> access_service_pb2.PolicyRevision:
    """Read a revision; None: the one in force."""
    from podium.v1 import access_service_pb2, access_service_pb2_grpc

    stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
    request = access_service_pb2.GetPolicyRequest(revision=revision)
    return (await service.connection.call(stub.GetPolicy, request)).policy


def _headline(found: access_service_pb2.PolicyRevision) -> str:
    from service.cli.output import moment

    if not found.revision:
        return "the built-in policy"
    proposed = f", proposed by {named(found.proposed_by)}" if found.HasField("proposed_by") else ""
    # One line, whatever the note holds: it stands in a comment.
    note = f": {' '.join(found.note.split())}" if found.note else ""
    return f"revision {found.revision}, {moment(found.applied_at_us)} by {named(found.applied_by)}{proposed}{note}"


def _revision_dict(found: access_service_pb2.PolicyRevision) -> dict[str, Any]:
    from service.cli.output import moment

    return {
        "revision": found.revision,
        "name": found.policy.name,
        "applied_at": moment(found.applied_at_us) or None,
        "applied_by": named(found.applied_by) or None,
        "proposed_by": named(found.proposed_by) or None,
        "note": found.note,
        "rolled_back_to": found.rolled_back_to or None,
        "event": found.event or None,
    }


def _outcome_row(outcome: CaseOutcome) -> Sequence[str]:
    case = outcome.case
    expected = ("allow" if case.expect_allow else "deny") + (f" ({case.rule})" if case.rule else "")
    decided = ("allow" if outcome.allowed else "deny") + f" ({outcome.rule})"
    return ("ok" if outcome.passed else "FAILED", case.name, decided, "" if outcome.passed else expected)


def _outcome_dict(outcome: CaseOutcome) -> dict[str, Any]:
    return {
        "name": outcome.case.name,
        "passed": outcome.passed,
        "decision": "allow" if outcome.allowed else "deny",
        "rule": outcome.rule,
        "missing": list(outcome.missing),
        "expected": "allow" if outcome.case.expect_allow else "deny",
        "expected_rule": outcome.case.rule,
    }
