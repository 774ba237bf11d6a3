"""Who is who: SPIFFE names, X.509-SVIDs, substrate credentials, joining.

`keys + names + now -> certificates and tokens`; pure: keys, serials and secrets come in as arguments.
"""

from hanse.identity.api_token import ApiToken, api_token_name, check_api_token, mint_api_token
from hanse.identity.authority import (
    OutsideKey,
    SigningKey,
    is_root,
    issue_svid,
    key_from_secret,
    make_csr,
    make_issuing,
    make_root,
    may_sign_authorities,
    serial_from_secret,
)
from hanse.identity.errors import IdentityError, SealingError
from hanse.identity.join import Admitted, JoinToken, Refused, check_join, mint_token
from hanse.identity.nats_accounts import NODE_API, NODE_INGEST, deliver_prefix
from hanse.identity.nats_jwt import NatsTrust, Nkey, ServerTls, nats_auth_config, nkey_from_secret
from hanse.identity.oidc import Issuer, KeyRing, TokenRefused, UserClaims, check_nonce, verify_token
from hanse.identity.permissions import Permissions, inbox_prefix, node_permissions
from hanse.identity.sealing import SealingKey, seal_to, sealing_key
from hanse.identity.spiffe import SpiffeId, controller_id, domain_id, node_id, server_id, workload_spiffe_id
from hanse.identity.verify import expiry_of, verify_svid

__all__ = [
    "NODE_API",
    "NODE_INGEST",
    "Admitted",
    "ApiToken",
    "IdentityError",
    "Issuer",
    "JoinToken",
    "KeyRing",
    "NatsTrust",
    "Nkey",
    "OutsideKey",
    "Permissions",
    "Refused",
    "SealingError",
    "SealingKey",
    "ServerTls",
    "SigningKey",
    "SpiffeId",
    "TokenRefused",
    "UserClaims",
    "api_token_name",
    "check_api_token",
    "check_join",
    "check_nonce",
    "controller_id",
    "deliver_prefix",
    "domain_id",
    "expiry_of",
    "inbox_prefix",
    "is_root",
    "issue_svid",
    "key_from_secret",
    "make_csr",
    "make_issuing",
    "make_root",
    "may_sign_authorities",
    "mint_api_token",
    "mint_token",
    "nats_auth_config",
    "nkey_from_secret",
    "node_id",
    "node_permissions",
    "seal_to",
    "sealing_key",
    "serial_from_secret",
    "server_id",
    "verify_svid",
    "verify_token",
    "workload_spiffe_id",
]
