"""AccessService: policies, credentials, addresses and tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator

from podium.v1 import access_service_pb2 as pb
from podium.v1 import access_service_pb2_grpc as grpc_stubs
from service.api import access_addresses, access_tenants
from service.api import parts as p
from service.api.access_policies import PolicyAccess
from service.api.handlers import Context
from service.api.revoking import list_revocations, revoke


class AccessServicer(grpc_stubs.AccessServiceServicer):
    """Serves AccessService. Method names are those of the contract."""

    def __init__(self, parts: p.ApiParts, policies: PolicyAccess) -> None:
        self._parts = parts
        self._policies = policies

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.GetPolicyResponse:
        """Reads the policy of the caller's tenant, as it is or as it was."""
        return await self._policies.get_policy(request)

    async def ListPolicyRevisions(
        self, request: pb.ListPolicyRevisionsRequest, context: Context
    ) -> pb.ListPolicyRevisionsResponse:
        """Lists the revisions of the policy, the newest first."""
        return await self._policies.list_revisions(request)

    async def ApplyPolicy(self, request: pb.ApplyPolicyRequest, context: Context) -> pb.ApplyPolicyResponse:
        """Applies a policy, or proposes it where the policy in force wants a second person."""
        return await self._policies.apply(request)

    async def RollBackPolicy(self, request: pb.RollBackPolicyRequest, context: Context) -> pb.RollBackPolicyResponse:
        """Makes an earlier revision the newest again, under the same conditions."""
        return await self._policies.roll_back(request)

    async def ListPolicyProposals(
        self, request: pb.ListPolicyProposalsRequest, context: Context
    ) -> pb.ListPolicyProposalsResponse:
        """Lists the proposals that wait."""
        return await self._policies.list_proposals(request)

    async def ApprovePolicy(self, request: pb.ApprovePolicyRequest, context: Context) -> pb.ApprovePolicyResponse:
        """Applies a proposal of somebody else."""
        return await self._policies.approve(request)

    async def RejectPolicy(self, request: pb.RejectPolicyRequest, context: Context) -> pb.RejectPolicyResponse:
        """Ends a proposal."""
        return await self._policies.reject(request)

    async def PreviewPolicy(
        self, request: pb.PreviewPolicyRequest, context: Context
    ) -> AsyncIterator[pb.PreviewPolicyResponse]:
        """Decide recorded calls again under another policy, and tell which would come out differently."""
        async for progress in self._policies.preview(request):
            yield progress

    async def RevokeCredentials(
        self, request: pb.RevokeCredentialsRequest, context: Context
    ) -> pb.RevokeCredentialsResponse:
        """Refuse credentials from now on, and cancels what runs under them."""
        return await revoke(self._parts, request)

    async def ListRevocations(self, request: pb.ListRevocationsRequest, context: Context) -> pb.ListRevocationsResponse:
        """Lists what was revoked."""
        return list_revocations(self._parts, request)

    async def BlockAddress(self, request: pb.BlockAddressRequest, context: Context) -> pb.BlockAddressResponse:
        """Blocks a network."""
        return await access_addresses.block(self._parts, request)

    async def UnblockAddress(self, request: pb.UnblockAddressRequest, context: Context) -> pb.UnblockAddressResponse:
        """Takes a block back."""
        return await access_addresses.unblock(self._parts, request)

    async def ListBlockedAddresses(
        self, request: pb.ListBlockedAddressesRequest, context: Context
    ) -> pb.ListBlockedAddressesResponse:
        """Lists the blocks in force."""
        return access_addresses.listed(self._parts, request)

    async def ConfigureTenant(self, request: pb.ConfigureTenantRequest, context: Context) -> pb.ConfigureTenantResponse:
        """Makes a tenant, or changes its name and quotas. For the operator's tenant alone, as are the next two."""
        return await access_tenants.configure(self._parts, request)

    async def ListTenants(self, request: pb.ListTenantsRequest, context: Context) -> pb.ListTenantsResponse:
        """Lists the tenants."""
        return access_tenants.listed(self._parts, request)

    async def GetTenant(self, request: pb.GetTenantRequest, context: Context) -> pb.GetTenantResponse:
        """Reads a tenant and what it uses."""
        return access_tenants.read(self._parts, request)
