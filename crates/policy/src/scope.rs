//! Where a policy may apply: `its scope, who asks for what -> whether its condition matters`.

use cedar_policy::{ActionConstraint, Entities, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

/// Whether the scope of a policy matches.
pub(crate) fn may_apply(
    policy: &Policy,
    entities: &Entities,
    principal: &EntityUid,
    action: &EntityUid,
    resource: &EntityUid,
) -> bool {
    let is_in = |one: &EntityUid, group: &EntityUid| one == group || entities.is_ancestor_of(group, one);
    let is_principal = match policy.principal_constraint() {
        PrincipalConstraint::Any => true,
        PrincipalConstraint::Eq(other) => *principal == other,
        PrincipalConstraint::In(group) => is_in(principal, &group),
        PrincipalConstraint::Is(kind) => *principal.type_name() == kind,
        PrincipalConstraint::IsIn(kind, group) => *principal.type_name() == kind && is_in(principal, &group),
    };
    let is_action = match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(other) => *action == other,
        ActionConstraint::In(groups) => groups.iter().any(|group| is_in(action, group)),
    };
    let is_resource = match policy.resource_constraint() {
        ResourceConstraint::Any => true,
        ResourceConstraint::Eq(other) => *resource == other,
        ResourceConstraint::In(group) => is_in(resource, &group),
        ResourceConstraint::Is(kind) => *resource.type_name() == kind,
        ResourceConstraint::IsIn(kind, group) => *resource.type_name() == kind && is_in(resource, &group),
    };
    is_principal && is_action && is_resource
}
