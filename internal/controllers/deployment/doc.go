// Package deployment moves an application from one template to the next by
// growing and shrinking ReplicaSets.
//
// It owns the ReplicaSets that a Deployment controls, their revision annotations
// and the Deployment's status. It promises that a rolling update never runs more
// pods than replicas+maxSurge nor takes available ones below
// replicas-maxUnavailable by its own hand, and that one template always gives one
// ReplicaSet, however often the controller is stopped in between.
package deployment
