// Package machinery tests what sig-api-machinery asks of a cluster, from the
// outside and with the clients that users have: custom resources, webhooks,
// policies, other API servers behind this one, watches and lists, apply, garbage
// collection, namespaces, quotas.
//
// All tests share one API server with all controllers beside it; there are no
// nodes, so pods run only as far as a test plays their node. Each test has
// namespaces of its own and names its cluster-wide objects after them, and what
// it sets up for the whole cluster (webhooks, policies) matches its own
// namespaces only.
package machinery
