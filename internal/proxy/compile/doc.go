// Package compile turns Services and EndpointSlices into the elements of the
// proxy's nftables sets. It is pure: it knows no kernel, no clock, no client.
//
// The table's rules never change with the services; all that does is elements.
// A frontend (address, protocol, port) leads to a pool, a pool has numbered
// endpoints and a chain that picks one of that many:
//
//	Services    address . protocol . port → pool
//	Picks       pool → goto "pick-<number of endpoints>"
//	Endpoints   pool . 0..n-1 → address . port
//
// so that one endpoint more or less costs a few elements however many there are:
// survivors keep their numbers, and the last moves into the hole of one that went.
//
// State is fed with objects and remembers which services they touch; Changes
// compiles those alone and returns what differs from before. What State holds of
// the objects is read only. State is for one goroutine.
package compile
