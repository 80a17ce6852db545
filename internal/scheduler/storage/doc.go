// Package storage decides where a pod's volumes let it go, and which volumes its
// claims get there. It is pure: it knows the volumes, claims and classes it is
// told of, has no clock and asks nobody.
//
// For a pod it makes a Plan, a rule for the engine to ask nodes by. For the node
// that was chosen, the plan says which volumes are to be bound and which claims
// provisioned; the world then counts those as taken until it is told otherwise.
// Who writes that to the API, and waits for it to become true, is the scheduler.
// The rules and their wording are those of kube-scheduler's VolumeRestrictions,
// NodeVolumeLimits, VolumeBinding and VolumeZone.
package storage
