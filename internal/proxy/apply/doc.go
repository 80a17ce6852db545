// Package apply keeps the kernel's nftables table as package compile says. A
// change is one transaction, so packets meet the services as they were or as they
// are, never a mixture; what is not named in it stays untouched, with the memory
// of which client belongs to which endpoint.
//
// The rules are few and fixed; only sets change, and a chain comes into being for
// each number of endpoints that some service has. Only the first packet of a
// connection passes them: established connections keep the endpoint they have.
package apply
