// Package zone answers DNS questions about a cluster's services and pods as the
// Kubernetes DNS specification (version 1.1.0) says, from Services and
// EndpointSlices alone. It is pure: it knows no network, clock or API, and what it
// holds of the objects is read only. A Zone is not safe for use by several
// goroutines while one of them changes it.
package zone
