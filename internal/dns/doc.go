// Package dns is the cluster's name server on one node: it answers about services
// and pods from its own cache of the API's objects (package zone) and asks the
// host's name servers about all else (package forward). It listens on addresses
// of the node; the proxy leads the cluster's DNS service to it, so pods ask the
// server of their own node, and names resolve while the API is out of reach.
//
// Until it has heard of all services it answers SERVFAIL about them, never that
// they do not exist.
package dns
