// Package proxy makes services work on one node: it watches Services and
// EndpointSlices, has package compile say which nftables elements they mean and
// package apply put the difference into the kernel.
//
// A change is applied as soon as it is seen; changes that come while one is being
// applied wait for it and go together, so the transactions adapt to the load.
// When the proxy stops or cannot reach the API, services go on as they last were;
// when it starts it first hears of all services and only then sets the table right.
// It never touches pods' links or other programs' tables, and an endpoint that
// leaves a service takes no established connection with it, except that the
// kernel's memory of datagrams to it is dropped.
package proxy
