package cni

import (
	"errors"

	"github.com/vishvananda/netlink"
)

// Dump lists something of the kernel again while it says that a change came
// between: other pods' links come and go at any moment.
func Dump[T any](list func() (T, error)) (got T, err error) {
	const attempts = 20
	for range attempts {
		if got, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return got, err
		}
	}
	return got, err
}
