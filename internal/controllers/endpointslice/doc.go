// Package endpointslice writes down which pods answer for a service.
//
// It owns the EndpointSlices that it labels as its own, for services with a
// selector. It promises that a pod that is terminating or no longer ready leaves
// with the next write, that slices hold at most a hundred endpoints, and that a
// change touches only the slices it concerns. Slices of others are never touched.
//
// Mirror does the same for Endpoints that users write by hand.
package endpointslice
